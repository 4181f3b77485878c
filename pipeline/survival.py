"""The surviving-score dataset: per source network, each weight's start and how long it survived."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.errors import UserError, unknown
from pipeline.stores import read_store, write_store

KIND, VERSION = "surviving-score dataset", 2
ARRAYS = ("weight", "gradient", "features", "survival")


@dataclass(frozen=True)
class Survival:
    """One network's prunable weights, flattened and joined in parameter order.

    Attributes:
        weight: float32 [n], at initialisation.
        gradient: float32 [n], of the mean loss at initialisation.
        features: float32 [n, 4], what AutoS sees at initialisation (`pipeline.autos.FEATURES`).
        survival: uint16 [n], rounds of iterative pruning survived, 0 to the number of rounds.
        about: everything needed to make the network again ("source"), the table of its layers
            ("layers": name, offset, shape), the density after each round ("densities"), and
            what was seen in each round ("rounds").
    """

    weight: np.ndarray
    gradient: np.ndarray
    features: np.ndarray
    survival: np.ndarray
    about: dict[str, Any]

    @property
    def sizes(self) -> list[int]:
        """Weights in each layer."""
        return [math.prod(layer["shape"]) for layer in self.about["layers"]]

    @property
    def rounds(self) -> int:
        return len(self.about["densities"])


def write_survival(path: Path, networks: dict[str, Survival]) -> None:
    arrays = {
        f"{name}/{array}": getattr(network, array)
        for name, network in networks.items()
        for array in ARRAYS
    }
    about = {name: network.about for name, network in networks.items()}
    write_store(path, arrays, kind=KIND, version=VERSION, about=about)


def read_survival(path: Path) -> dict[str, Survival]:
    """Raises UserError: the store is missing, incomplete or damaged."""
    arrays, about = read_store(path, kind=KIND, version=VERSION)
    return {
        name: Survival(**{array: arrays[f"{name}/{array}"] for array in ARRAYS}, about=about[name])
        for name in about
    }


def chosen(
    networks: Mapping[str, Survival], names: Sequence[str] | Literal["all"]
) -> dict[str, Survival]:
    """Raises UserError: one of the names is unknown."""
    if names == "all":
        return dict(networks)
    for name in names:
        if name not in networks:
            problem = unknown("source", name, networks)
            raise UserError(f"params.yaml: train_predictor.sources: {problem}")
    return {name: networks[name] for name in names}
