"""Validated settings: a section of `params.yaml` per stage, its class beside the code it drives."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError

from pipeline.errors import UserError, unknown

PARAMS = Path("params.yaml")

Density = Annotated[float, Field(gt=0, le=1)]
"""Fraction of the prunable weights that is kept, in (0, 1]."""


def _plain_name(name: str) -> str:
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise ValueError(f"{name!r} is no plain name: use letters, digits, '-', '_' and '.'")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
"""A name that the user gives and that becomes part of file names."""


def one_of(kind: str, names: Collection[str]) -> AfterValidator:
    """Annotation of a setting that names an entry of a registry.

    Args:
        kind: of entry, for the error message, for example "criterion".
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
"""Annotation of a list in which nothing may stand twice."""


class Config(BaseModel, extra="forbid", frozen=True):
    """Base of all settings: immutable, and an unknown key is an error."""

    @classmethod
    def load(cls, section: str) -> Self:
        """Read one section of `params.yaml`.

        Raises:
            UserError: the file or the section is missing, or a value is not valid.
        """
        try:
            content = yaml.safe_load(PARAMS.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{PARAMS}: not found; run from the root of the repository") from None
        except yaml.YAMLError as error:
            raise UserError(f"{PARAMS}: not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(content, dict) or section not in content:
            raise UserError(f"{PARAMS}: section {section!r} is missing")
        return cls.validated(content[section], f"{PARAMS}: {section}")

    @classmethod
    def validated(cls, content: Any, where: str) -> Self:
        """Settings from plain values.

        Args:
            where: they stand, for the error message.

        Raises:
            UserError: a value is not valid.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(_first_problem(where, error)) from None


def _first_problem(section: str, error: ValidationError) -> str:
    first, count = error.errors()[0], error.error_count()
    where = ".".join(str(part) for part in (section, *first["loc"]))
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] not in ("missing", "value_error", "extra_forbidden"):
        what += f", got {first['input']!r}"
    return f"{where}: {what}" + (f" (and {count - 1} more)" if count > 1 else "")
