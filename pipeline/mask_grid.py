"""Section `prune`: the grid of masks, and the folder of masks that comes of it."""

import itertools
from pathlib import Path
from typing import Annotated

from pydantic import Field

from models import ARCHITECTURES
from pipeline.compute import Hardware
from pipeline.config import DISTINCT, Config, Density, Name, one_of
from pipeline.criteria import CRITERIA
from pipeline.image_store import find_store
from pipeline.images import ScoringConfig
from pipeline.mask_cells import MaskCell, hand_made_mask
from pipeline.networks import NetworkConfig
from pipeline.predicted_mask_cells import PredictedMaskCell, predicted_mask
from pipeline.predictor import Predictor
from pipeline.stores import store_digest
from pipeline.units import Unit

AUTOS = "autos"

CriterionName = Annotated[str, one_of("criterion", [*CRITERIA, AUTOS])]


class PruneConfig(Config):
    """Every target is pruned by every criterion to every density with every seed."""

    targets: dict[Name, NetworkConfig] = Field(min_length=1)
    criteria: Annotated[list[CriterionName], DISTINCT] = Field(min_length=1)
    densities: Annotated[list[Density], DISTINCT] = Field(min_length=1)
    seeds: Annotated[list[int], DISTINCT] = Field(min_length=1)
    scoring: ScoringConfig

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
        store = find_store(images, network.images)
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
