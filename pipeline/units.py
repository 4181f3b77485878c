"""Units of work: computed once, kept in one file each, found again after a crash.

A unit is named by everything that determines its result, so a finished one is reused exactly when
computing it again would give the same bytes. Units live in `.work/`, outside DVC, and the stages
assemble their outputs from them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.fingerprint import code, module_of, settings_of
from pipeline.tensors import read_tensors, write_tensors

WORK = Path(".work")
KIND, VERSION = "unit of work", 1

S = TypeVar("S", bound=Config)


@dataclass(frozen=True)
class Result:
    """What a unit computes: tensors, and a description that JSON holds."""

    tensors: Mapping[str, Tensor]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Unit(Generic[S]):
    """A function call whose result is kept.

    Attributes:
        name: readable, with "/" between the parts; the first one is the stage.
        function: importable function of a settings object; pure up to what `Result.about` holds
            under "seconds".
        settings: its argument; becomes part of the unit's identity.
        inputs: digests of the data that the function reads, including earlier units' keys.
        uses: further modules or registry entries whose code determines the result.
    """

    name: str
    function: Callable[[S], Result]
    settings: S
    inputs: Mapping[str, str]
    uses: tuple[Callable[..., Any], ...] = ()

    @cached_property
    def key(self) -> str:
        """Hash of the settings, the inputs and the code."""
        modules = frozenset({self.function.__module__, *map(module_of, self.uses)})
        identity = {
            "settings": self.settings.model_dump(mode="json"),
            "inputs": dict(self.inputs),
            "registered": [settings_of(entry) for entry in self.uses],
            "code": code(modules),
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    @property
    def path(self) -> Path:
        stage, *rest = self.name.split("/")
        return WORK / stage / f"{'-'.join(rest)}-{self.key[:16]}.safetensors"

    def done(self) -> bool:
        return self.path.exists()

    def compute(self) -> None:
        """Raises UserError: as the function does; with the unit's name in front."""
        try:
            result = self.function(self.settings)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None
        write_tensors(
            self.path, result.tensors, kind=KIND, version=VERSION, about=dict(result.about)
        )

    def result(self) -> Result:
        """Raises UserError: the unit is not done, or its file is damaged."""
        return read_result(self.path)


def read_result(path: Path) -> Result:
    """Raises UserError: the file is missing or damaged."""
    return Result(*read_tensors(path, kind=KIND, version=VERSION))


Chain = Iterable[Unit]
"""Units of which each needs the one before."""
