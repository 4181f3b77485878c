"""Units of work: computed once, kept in one file each, found again after a crash.

A unit is named by everything that determines its result, so a finished one is used again exactly
when computing it anew would give the same bytes. Units live in `.work/`, outside DVC, and the
stages assemble their outputs from them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from autos.config import Config
from autos.errors import DamagedFileError, MissingFileError, UserError
from autos.storage.tensors import read_tensors, write_tensors
from autos.work.fingerprint import code

WORK = Path(".work")
"""Folder of all units, within the current one."""

KIND, VERSION = "unit of work", 1

S = TypeVar("S", bound=Config)


@dataclass(frozen=True)
class Result:
    """What a unit computes.

    Attributes:
        tensors: Tensors by name.
        about: Description of the result, anything that JSON holds.
    """

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Unit(Generic[S]):
    """A function call whose result is kept.

    Attributes:
        name: Readable name, with "/" between its parts; the first part is the stage.
        function: Importable function of a settings object. It is pure, but for what it says
            under "seconds" in `Result.about`.
        settings: Argument of the function; it is part of the unit's identity.
        inputs: Digests of the data that the function reads, earlier units' keys included.
        uses: Code that the function finds by a name in its settings and not by an import, as
            `autos.work.fingerprint.code` takes it: "module" or "module:definition".
    """

    name: str
    function: Callable[[S], Result]
    settings: S
    inputs: Mapping[str, str]
    uses: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """SHA-256 of the settings, of the inputs, and of the code that computes the result."""
        called = f"{self.function.__module__}:{self.function.__qualname__}"
        identity = {
            "settings": self.settings.model_dump(mode="json"),
            "inputs": dict(self.inputs),
            "code": code(frozenset({called, *self.uses})),
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @property
    def path(self) -> Path:
        """File of the result."""
        stage, *rest = self.name.split("/")
        return WORK / stage / f"{'-'.join(rest)}-{self.key[:16]}.safetensors"

    def done(self) -> bool:
        """Tell whether the result is kept already, and whole; a damaged one is computed again."""
        try:
            self.result()
        except (MissingFileError, DamagedFileError):
            return False
        return True

    def compute(self) -> None:
        """Call the function and keep its result.

        Raises:
            UserError: The function raised one; the unit's name is put in front of its message.
        """
        try:
            result = self.function(self.settings)
        except UserError as error:
            raise type(error)(f"{self.name}: {error}") from None
        write_tensors(
            self.path, result.tensors, kind=KIND, version=VERSION, about=dict(result.about)
        )

    def result(self) -> Result:
        """Read the kept result.

        Raises:
            UserError: The unit is not done, or its file is damaged.
        """
        return read_result(self.path)


def read_result(path: Path) -> Result:
    """Read the result of a unit from its file.

    Raises:
        UserError: The file is not there, or is damaged.
    """
    return Result(*read_tensors(path, kind=KIND, version=VERSION))


Chain = Iterable[Unit]
"""Units of which each needs the one before."""
