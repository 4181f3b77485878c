"""Validated settings: a class for each group of them, beside the code that they drive."""

from collections.abc import Collection
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from autos.errors import SettingError, unknown

Density = Annotated[float, Field(gt=0, le=1)]
"""The fraction of the prunable weights that is kept, in (0, 1]."""

Rounds = Annotated[int, Field(gt=0, le=1000)]
"""How often something costly is done again; more would go on for days without a sign of it."""


def _plain_name(name: str) -> str:
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ValueError(f"{name!r} is no plain name: use letters, digits, '-', '_' and '.'")
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
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise SettingError(_first_problem(where, error)) from None


def _first_problem(section: str, error: ValidationError) -> str:
    first, count = error.errors()[0], error.error_count()
    where = ".".join(str(part) for part in (section, *first["loc"]))
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] not in ("missing", "value_error", "extra_forbidden"):
        what += f", got {first['input']!r}"
    return f"{where}: {what}" + (f" (and {count - 1} more)" if count > 1 else "")
