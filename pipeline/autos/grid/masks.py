"""The grid of masks, as chains of units of work."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from autos.compute import Hardware
from autos.config import DISTINCT, Config, Density, Name, Seed, one_of
from autos.errors import UserError, unknown
from autos.grid.cell import PREDICTOR, Cell, Check
from autos.grid.checks import INVERT, CheckSettings, checked_mask
from autos.grid.mask_cells import MaskSettings, find_mask
from autos.images.loaders import ScoringConfig
from autos.images.store import find_store
from autos.methods import METHODS
from autos.methods.base import Criterion, Method
from autos.network.spec import NetworkConfig
from autos.predictors import PREDICTORS
from autos.storage.zarr_store import store_digest
from autos.training.recipe import TrainConfig
from autos.work.units import Unit


class Variant(Config):
    """A method with hyperparameters of one's own."""

    method: Annotated[str, one_of("method", [*METHODS, *PREDICTORS])]
    """Name of the method, or of a trained predictor."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Hyperparameters; those that are not named keep their defaults, which are the authors'."""

    @model_validator(mode="after")
    def _valid(self) -> "Variant":
        try:
            self.all_settings()
        except UserError as error:
            raise ValueError(str(error)) from None
        return self

    def all_settings(self) -> dict[str, Any]:
        """Return all hyperparameters, with their defaults.

        Raises:
            SettingError: A hyperparameter is not valid.
        """
        known = METHODS[self.method].settings if self.method in METHODS else Config
        return known.validated(self.settings, "settings").model_dump(mode="json")


def _known(name: str, info: ValidationInfo) -> str:
    names = [*METHODS, *PREDICTORS, *info.data.get("variants", ())]
    if name not in names:
        raise ValueError(unknown("method", name, names))
    return name


class TargetConfig(NetworkConfig):
    """A network, and which of its weights are pruned."""

    include: list[str] | None = None
    """Patterns of the names of weights, or of modules that hold them; None is all weights."""
    exclude: list[str] = Field(default_factory=list)
    """Patterns of what is left out of these, and stays whole."""

    @property
    def network(self) -> NetworkConfig:
        """The network alone."""
        return NetworkConfig(**self.model_dump(exclude={"include", "exclude"}))


def _told_briefly(density: float) -> float:
    """Refuse a density whose decimals would not fit into the name of a file."""
    if density < 1e-9:
        raise ValueError("below 1e-9, of which the largest networks keep nothing")
    return density


class PruneConfig(Config):
    """Settings of the grid.

    Every target is pruned by every method to every density with every seed.
    """

    targets: dict[Name, TargetConfig] = Field(min_length=1)
    """Networks to prune, by a name of one's own."""
    variants: dict[Name, Variant] = Field(default_factory=dict)
    """Methods with hyperparameters of one's own, by a name of one's own."""
    methods: Annotated[list[Annotated[str, AfterValidator(_known)]], DISTINCT] = Field(min_length=1)
    """Names of methods, of variants, and of trained predictors."""
    checks: Annotated[list[Check], DISTINCT] = Field(default_factory=list)
    """Names of the sanity checks that are made of every mask."""
    densities: Annotated[list[Annotated[Density, AfterValidator(_told_briefly)]], DISTINCT] = Field(
        min_length=1
    )
    """Fractions of the prunable weights that are kept."""
    seeds: Annotated[list[Seed], DISTINCT] = Field(min_length=1)
    """Seeds of the initialisation and of all that is drawn."""
    scoring: ScoringConfig
    """Choice of the images on which methods score weights."""

    def chains(self, inputs: "Inputs") -> list[list[Unit]]:
        """Return one chain of units per mask: the mask itself, and then the checks of it.

        Raises:
            SettingError: A target has no recipe for a method that trains, or no image set.
        """
        grid = itertools.product(self.targets, self.methods, self.densities, self.seeds)
        return [
            self._chain(Cell(target=target, method=method, density=density, seed=seed), inputs)
            for target, method, density, seed in grid
        ]

    def kind(self, method: str) -> str:
        """Return the kind of a method, a variant or a trained predictor, by its name."""
        known = self._method(method)
        return known.kind if known else PREDICTOR

    def _method(self, name: str) -> Method[Any] | None:
        """Return the method behind a name, or None for a trained predictor."""
        return METHODS.get(self._variant(name).method)

    def _variant(self, name: str) -> Variant:
        return self.variants.get(name) or Variant(method=name)

    def _chain(self, cell: Cell, inputs: "Inputs") -> list[Unit]:
        mask = self._mask(cell, inputs)
        chain: list[Unit] = [mask]
        for check in self.checks:
            checked = cell.model_copy(update={"check": check})
            if check != INVERT:
                chain.append(self._check(checked, mask, inputs))
            elif isinstance(self._method(cell.method), Criterion | None):
                # Methods that are neither criteria nor predictors have no scores to invert.
                chain.append(self._mask(checked, inputs))
        return chain

    def _mask(self, cell: Cell, inputs: "Inputs") -> Unit[MaskSettings]:
        target, method = self.targets[cell.target], self._method(cell.method)
        network = target.network
        variant = self._variant(cell.method)
        store = find_store(network.images, inputs.images)
        digests = {"images": store_digest(store), **network.digests()}
        if method:
            uses = method.function.__module__
        else:
            uses = PREDICTORS[variant.method].__module__
            digests["predictor"] = PREDICTORS[variant.method].digest(inputs.predictor)
        settings = MaskSettings(
            network=network,
            images=store,
            method=variant.method,
            settings=variant.all_settings(),
            predictor=None if method else inputs.predictor,
            inverted=cell.check == INVERT,
            include=target.include,
            exclude=target.exclude,
            density=cell.density,
            seed=cell.seed,
            scoring=self.scoring,
            recipe=inputs.recipe(cell.target) if method and method.data == "training" else None,
            hardware=inputs.hardware,
        )
        return Unit(cell.unit("prune"), find_mask, settings, digests, (uses,))

    def _check(self, cell: Cell, mask: Unit, inputs: "Inputs") -> Unit[CheckSettings]:
        assert cell.check is not None
        network = self.targets[cell.target].network
        settings = CheckSettings(
            network=network,
            images=find_store(network.images, inputs.images),
            mask=mask.path,
            check=cell.check,
            seed=cell.seed,
        )
        digests = {"mask": mask.key, **network.digests()}
        return Unit(cell.unit("prune"), checked_mask, settings, digests)


@dataclass(frozen=True)
class Inputs:
    """Folders, recipes and hardware that masks are made with.

    Attributes:
        images: Folder of the prepared image sets.
        predictor: Folder of the trained predictors.
        recipe: Function that returns the recipe of a target by its name.
        hardware: Hardware to score and train on.
    """

    images: Path
    predictor: Path
    recipe: Callable[[str], TrainConfig]
    hardware: Hardware
