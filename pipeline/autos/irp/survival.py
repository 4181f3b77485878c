"""The surviving-score dataset: per source network, each weight's start and how long it survived."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from autos.config import Config
from autos.errors import DamagedFileError, SettingError, unknown
from autos.network.features import FEATURES
from autos.storage.zarr_store import read_store, write_store

KIND, VERSION = "surviving-score dataset", 2
ARRAYS = ("weight", "gradient", "features", "survival")
DTYPES = ["float32", "float32", "float32", "uint16"]


@dataclass(frozen=True)
class Survival:
    """The prunable weights of one network, flattened and joined in parameter order.

    Attributes:
        weight: Values at initialisation, float32 [n].
        gradient: Gradients of the mean loss at initialisation, float32 [n].
        features: What AutoS sees at initialisation (`autos.network.features`), float32 [n, 4].
        survival: Rounds of iterative pruning survived, 0 to the number of rounds, uint16 [n].
        about: Everything needed to make the network again ("source"), its layers ("layers": name,
            offset, shape), the density after each round ("densities"), and what was seen in each
            round ("rounds").
    """

    weight: np.ndarray
    gradient: np.ndarray
    features: np.ndarray
    survival: np.ndarray
    about: dict[str, Any]

    @property
    def sizes(self) -> list[int]:
        """Number of weights in each layer."""
        return [math.prod(layer["shape"]) for layer in self.about["layers"]]

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return len(self.about["densities"])


class _Layer(Config):
    name: str
    offset: int
    shape: list[Annotated[int, Field(ge=0)]]


class _About(Config, extra="allow"):
    """What the description of a network has to tell."""

    source: dict[str, Any]
    layers: list[_Layer]
    densities: list[float] = Field(min_length=1)


def write_survival(path: Path, networks: Mapping[str, Survival]) -> None:
    """Write the dataset of several networks as one zarr store."""
    arrays = {
        f"{name}/{array}": getattr(network, array)
        for name, network in networks.items()
        for array in ARRAYS
    }
    about = {name: network.about for name, network in networks.items()}
    write_store(path, arrays, kind=KIND, version=VERSION, about=about)


def read_survival(path: Path) -> dict[str, Survival]:
    """Read the dataset of all networks, by name.

    Raises:
        MissingFileError: There is no store.
        DamagedFileError: The store is incomplete or damaged, or holds something else.
    """
    arrays, about = read_store(path, kind=KIND, version=VERSION)
    networks = {}
    for name, facts in about.items():
        try:
            layers = _About.validated(facts, f"{path}: {name}").layers
        except SettingError as error:
            raise DamagedFileError(str(error)) from None
        parts = {array: arrays.get(f"{name}/{array}", np.empty(())) for array in ARRAYS}
        ends = np.cumsum([0] + [math.prod(layer.shape) for layer in layers]).tolist()
        shapes = [(ends[-1], len(FEATURES)) if a == "features" else (ends[-1],) for a in ARRAYS]
        if (
            [layer.offset for layer in layers] != ends[:-1]
            or [part.shape for part in parts.values()] != shapes
            or [part.dtype.name for part in parts.values()] != DTYPES
        ):
            raise DamagedFileError(f"{path}: the arrays of {name!r} do not fit its layers")
        networks[name] = Survival(**parts, about=facts)
    return networks


def chosen(
    networks: Mapping[str, Survival], names: Sequence[str] | Literal["all"]
) -> dict[str, Survival]:
    """Return the networks of the given names.

    Raises:
        SettingError: One of the names is unknown.
    """
    if names == "all":
        return dict(networks)
    for name in names:
        if name not in networks:
            raise SettingError(f"sources: {unknown('source', name, networks)}")
    return {name: networks[name] for name in names}
