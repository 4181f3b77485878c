"""Validated settings: a class for each group of them, beside the code that they drive."""

import datetime
import reprlib
from collections.abc import Collection
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from autos.errors import SettingError, brief, unknown

Seed = Annotated[int, Field(ge=-(2**62), le=2**62)]
"""The seed of a random generator, which takes 64 bits; a bit is left for seeds made from it."""

Count = Annotated[int, Field(gt=0, le=10**9)]
"""A number of things, of which there is at least one."""

Density = Annotated[float, Field(gt=0, le=1)]
"""The fraction of the prunable weights that is kept, in (0, 1]."""

Rounds = Annotated[int, Field(gt=0, le=1000)]
"""How often something costly is done again; more would go on for days without a sign of it."""


LONGEST_NAME = 60
"""Number of bytes of a name, of which a few stand in the name of one file."""

DEEPEST, MOST = 50, 1_000_000
"""Levels of settings within settings, and their number, that no real settings reach."""


def _plain_name(name: str) -> str:
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ValueError(f"{name!r} is no plain name: use letters, digits, '-', '_' and '.'")
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"{reprlib.repr(name)} is longer than the {LONGEST_NAME} bytes of a name")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
"""A name that the user gives and that becomes part of file names."""


def one_of(kind: str, names: Collection[str]) -> AfterValidator:
    """Return the annotation of a setting that names an entry of a registry.

    Args:
        kind: What the entry is, for the error message, for example "criterion".
        names: All names of the registry.
    """

    def check(name: str) -> str:
        if name not in names:
            raise ValueError(unknown(kind, name, names))
        return name

    return AfterValidator(check)


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"{values} names something twice")
    return values


DISTINCT = AfterValidator(_distinct)
"""Annotates a list in which nothing may stand twice."""


class Config(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """The base of all settings: immutable, finite, and with an error for an unknown key."""

    @classmethod
    def validated(cls, content: Any, where: str) -> Self:
        """Make settings from plain values.

        Args:
            content: A mapping from the names of the settings to their values.
            where: Where the values stand; it begins the name of a setting in the error message.

        Raises:
            SettingError: A value is not valid, or a key is missing or unknown.
        """
        _check_plain(content, where)
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise SettingError(_first_problem(where, error)) from None


def _first_problem(section: str, error: ValidationError) -> str:
    first, count = error.errors()[0], error.error_count()
    where = ".".join(str(part) for part in (section, *first["loc"]))
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] not in ("missing", "value_error", "extra_forbidden"):
        what += f", got {reprlib.repr(first['input'])}"
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{brief(where)}: {brief(what, 500)}{more}"


def _check_plain(content: Any, where: str) -> None:
    """Refuse what no setting can be, before work on it takes all memory or never ends."""
    todo, count = [(content, where, 0)], 0
    while todo:
        value, place, depth = todo.pop()
        count += 1
        problem = None
        if depth > DEEPEST or count > MOST:
            problem = "too many settings, or too deep within each other"
        elif isinstance(value, int) and value.bit_length() > 64:
            problem = "a number of more than 64 bits"
        elif isinstance(value, datetime.date | datetime.time):
            problem = f"a date, {value}; put it in quotes if it is a text"
        if problem:
            raise SettingError(f"{brief(place)}: {problem}")
        if isinstance(value, dict):
            todo += [(part, f"{place}.{key}", depth + 1) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            todo += [(part, f"{place}.{i}", depth + 1) for i, part in enumerate(value)]
