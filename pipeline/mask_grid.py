"""Section `prune`: the grid of masks, and the folder of masks that comes of it."""

import itertools
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from models import ARCHITECTURES
from pipeline.compute import Hardware
from pipeline.config import Config, Density, Name
from pipeline.criteria import CRITERIA
from pipeline.errors import unknown
from pipeline.images import ScoringConfig
from pipeline.mask_cells import MaskCell, hand_made_mask
from pipeline.networks import NetworkConfig
from pipeline.predicted_mask_cells import PredictedMaskCell, predicted_mask
from pipeline.predictor import Predictor
from pipeline.stores import store_digest
from pipeline.units import Unit

AUTOS = "autos"


class PruneConfig(Config):
    """Every target is pruned by every criterion to every density with every seed."""

    targets: dict[Name, NetworkConfig] = Field(min_length=1)
    criteria: list[str] = Field(min_length=1)
    densities: list[Density] = Field(min_length=1)
    seeds: list[int] = Field(min_length=1)
    scoring: ScoringConfig

    @field_validator("criteria")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in (*CRITERIA, AUTOS):
                raise ValueError(unknown("criterion", name, [*CRITERIA, AUTOS]))
        return names

    @field_validator("criteria", "densities", "seeds")
    @classmethod
    def _distinct(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError(f"{values} names something twice")
        return values

    def units(self, *, images: Path, predictor: Path, hardware: Hardware) -> list[Unit]:
        """One unit per cell, named prune/<target>/<criterion>/<density>/<seed>.

        Args:
            images: folder of the prepared image sets.
            predictor: folder of the trained predictor.
        """
        cells = itertools.product(self.targets, self.criteria, self.densities, self.seeds)
        return [
            self._unit(*cell, images=images, predictor=predictor, hardware=hardware)
            for cell in cells
        ]

    def _unit(
        self,
        target: str,
        criterion: str,
        density: float,
        seed: int,
        *,
        images: Path,
        predictor: Path,
        hardware: Hardware,
    ) -> Unit:
        network = self.targets[target]
        store = images / f"{network.images}.zarr"
        name = f"prune/{target}/{criterion}/{density:g}/{seed}"
        settings = {
            "network": network,
            "images": store,
            "criterion": criterion,
            "density": density,
            "seed": seed,
            "scoring": self.scoring,
            "hardware": hardware,
        }
        inputs = {"images": store_digest(store)}
        architecture = ARCHITECTURES[network.architecture]
        if criterion == AUTOS:
            inputs["predictor"] = Predictor.digest(predictor)
            cell = PredictedMaskCell(**settings, predictor=predictor)
            return Unit(name, predicted_mask, cell, inputs, (architecture,))
        uses = (architecture, CRITERIA[criterion].score)
        return Unit(name, hand_made_mask, MaskCell(**settings), inputs, uses)
