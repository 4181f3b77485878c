"""Section `prune`: the grid of masks, and the folder of masks that comes of it."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from models import ARCHITECTURES
from pipeline.check_cells import Check, CheckCell, checked_mask
from pipeline.compute import Hardware
from pipeline.config import DISTINCT, Config, Density, Name, one_of
from pipeline.criterion import Criterion
from pipeline.errors import UserError, unknown
from pipeline.image_store import find_store
from pipeline.images import ScoringConfig
from pipeline.mask_cells import MaskCell, method_mask
from pipeline.method import Method
from pipeline.methods import METHODS
from pipeline.networks import NetworkConfig
from pipeline.predicted_mask_cells import PredictedMaskCell, predicted_mask
from pipeline.predictors import PREDICTORS
from pipeline.recipes import TrainConfig
from pipeline.stores import store_digest
from pipeline.units import Unit

INVERT: Check = "invert"


class Variant(Config):
    """A method with hyperparameters of one's own."""

    method: Annotated[str, one_of("method", [*METHODS, *PREDICTORS])]
    settings: dict[str, Any] = Field(default_factory=dict)
    """Those that are not named keep their defaults, which are the authors'."""

    @model_validator(mode="after")
    def _valid(self) -> "Variant":
        try:
            self.all_settings()
        except UserError as error:
            raise ValueError(str(error)) from None
        return self

    def all_settings(self) -> dict[str, Any]:
        """Raises UserError: one is not valid."""
        known = METHODS[self.method].settings if self.method in METHODS else Config
        return known.validated(self.settings, "settings").model_dump(mode="json")


def _known(name: str, info: ValidationInfo) -> str:
    names = [*METHODS, *PREDICTORS, *info.data.get("variants", ())]
    if name not in names:
        raise ValueError(unknown("criterion", name, names))
    return name


class PruneConfig(Config):
    """Every target is pruned by every criterion to every density with every seed."""

    targets: dict[Name, NetworkConfig] = Field(min_length=1)
    variants: dict[Name, Variant] = Field(default_factory=dict)
    """Methods with hyperparameters of one's own, by a name of one's own."""
    criteria: Annotated[list[Annotated[str, AfterValidator(_known)]], DISTINCT] = Field(
        min_length=1
    )
    """Names of methods, variants, and trained predictors."""
    checks: Annotated[list[Check], DISTINCT] = Field(default_factory=list)
    """Of the sanity of every mask."""
    densities: Annotated[list[Density], DISTINCT] = Field(min_length=1)
    seeds: Annotated[list[int], DISTINCT] = Field(min_length=1)
    scoring: ScoringConfig

    def chains(self, inputs: "Inputs") -> list[list[Unit]]:
        """One chain per cell: its mask, named prune/<target>/<criterion>/<density>/<seed>, then
        the checks of it, with their names at the end.

        Raises:
            UserError: a target has no recipe for a method that trains.
        """
        cells = itertools.product(self.targets, self.criteria, self.densities, self.seeds)
        return [self._chain(Cell(*cell), inputs) for cell in cells]

    def method(self, criterion: str) -> Method | None:
        """The method behind a name; None is a trained predictor."""
        return METHODS.get(self._variant(criterion).method)

    def _variant(self, criterion: str) -> Variant:
        return self.variants.get(criterion) or Variant(method=criterion)

    def _chain(self, cell: "Cell", inputs: "Inputs") -> list[Unit]:
        mask = self._mask(cell, inputs, inverted=False)
        chain = [mask]
        for check in self.checks:
            if check != INVERT:
                chain.append(self._check(cell, mask, check, inputs))
            elif isinstance(self.method(cell.criterion), Criterion | None):  # else: no scores
                chain.append(self._mask(cell, inputs, inverted=True))
        return chain

    def _mask(self, cell: "Cell", inputs: "Inputs", *, inverted: bool) -> Unit:
        network, method = self.targets[cell.target], self.method(cell.criterion)
        variant = self._variant(cell.criterion)
        store = find_store(inputs.images, network.images)
        settings = {
            "network": network,
            "images": store,
            "criterion": variant.method,
            "settings": variant.all_settings(),
            "inverted": inverted,
            "density": cell.density,
            "seed": cell.seed,
            "scoring": self.scoring,
            "recipe": inputs.recipe(cell.target) if method and method.data == "training" else None,
            "hardware": inputs.hardware,
        }
        digests = {"images": store_digest(store), **network.digests()}
        name = cell.name(INVERT if inverted else None)
        architecture = ARCHITECTURES[network.architecture]
        if method is None:
            digests["predictor"] = PREDICTORS[variant.method].digest(inputs.predictor)
            predicted = PredictedMaskCell(**settings, predictor=inputs.predictor)
            return Unit(name, predicted_mask, predicted, digests, (architecture,))
        uses = (architecture, method.function)
        return Unit(name, method_mask, MaskCell(**settings), digests, uses)

    def _check(self, cell: "Cell", mask: Unit, check: Check, inputs: "Inputs") -> Unit:
        network = self.targets[cell.target]
        settings = CheckCell(
            network=network,
            images=find_store(inputs.images, network.images),
            mask=mask.path,
            check=check,
            seed=cell.seed,
        )
        architecture = ARCHITECTURES[network.architecture]
        return Unit(cell.name(check), checked_mask, settings, {"mask": mask.key}, (architecture,))


class Cell(NamedTuple):
    """A mask of the grid."""

    target: str
    criterion: str
    density: float
    seed: int

    def name(self, check: Check | None) -> str:
        parts = ["prune", self.target, self.criterion, f"{self.density:g}", str(self.seed)]
        return "/".join([*parts, check] if check else parts)


@dataclass(frozen=True)
class Inputs:
    """What masks are made with.

    Attributes:
        images: folder of the prepared image sets.
        predictor: folder of the trained predictors.
        recipe: of a target, from section `finetune`.
        hardware: to score and train on.
    """

    images: Path
    predictor: Path
    recipe: Callable[[str], TrainConfig]
    hardware: Hardware
