"""Computation of one mask of the grid, and of what finding it did cost."""

import warnings
from pathlib import Path
from typing import Any

from pydantic import Field

from autos.compute import Hardware
from autos.config import Config, Density
from autos.grid.checks import invert
from autos.grid.mask_result import described
from autos.images.image_set import ImageSet
from autos.images.loaders import ScoringConfig, ShuffledImages
from autos.masks.flops import forward_flops
from autos.methods import METHODS
from autos.methods.base import Criterion, Method
from autos.network.batches import Batches
from autos.network.spec import NetworkConfig
from autos.predictors import PREDICTORS
from autos.pruning import CoverageWarning, EmptyLayerWarning, find
from autos.training.recipe import TrainConfig
from autos.work.units import Result


class MaskSettings(Config):
    """Settings of a unit that finds one mask."""

    network: NetworkConfig
    images: Path
    """Store of the image set."""
    method: str
    """Name of a method or of a trained predictor."""
    settings: dict[str, Any]
    """All hyperparameters of the method."""
    predictor: Path | None
    """Folder of the trained predictors; None if the method is none of them."""
    inverted: bool
    """Whether the lowest scores are kept, as a check of the method's sanity."""
    include: list[str] | None = None
    """Patterns of the weights to prune; None is all that are not frozen."""
    exclude: list[str] = Field(default_factory=list)
    """Patterns of the weights to leave out."""
    density: Density
    seed: int
    """Seed of the initialisation, of the choice of scoring images, and of random methods."""
    scoring: ScoringConfig
    recipe: TrainConfig | None
    """Recipe of the target, for a method that trains."""
    hardware: Hardware


def find_mask(settings: MaskSettings) -> Result:
    """Find the mask and the weights to train on from, and describe them with their cost."""
    method = _method(settings)
    images = ImageSet.load(settings.images)
    device = settings.hardware.device
    model = settings.network.build(images, seed=settings.seed).to(device)
    model.train(settings.scoring.batch_norm == "train")
    batches: Batches
    if settings.recipe:
        batches = ShuffledImages(
            images,
            batch_size=settings.recipe.batch_size,
            augmentation=settings.recipe.augmentation,
            seed=settings.seed,
            device=device,
        )
    else:
        batches = settings.scoring.batches(images, seed=settings.seed, device=device)
    with warnings.catch_warnings():
        for kind in (EmptyLayerWarning, CoverageWarning):  # The mask's row tells of both.
            warnings.simplefilter("ignore", kind)
        found = find(
            model,
            method,
            batches,
            density=settings.density,
            seed=settings.seed,
            settings=settings.settings,
            recipe=settings.recipe,
            hardware=settings.hardware,
            include=settings.include,
            exclude=settings.exclude,
        )
    assert found.cost is not None
    image = images.normalize(images.test.images[:1]).to(device)
    _, forward = forward_flops(model, image, found.mask)
    cost = {
        "forward": found.cost.forward,
        "backward": found.cost.backward,
        "epochs": found.cost.epochs(len(images.train)),
        "flops": found.cost.flops(forward),
    }
    assert found.coverage is not None
    covers = {"coverage": round(found.coverage, 4)} if found.coverage < 1 else {}
    return described(found, cost=cost, seconds=found.cost.seconds, **covers)


def _method(settings: MaskSettings) -> Method[Any]:
    method: Method[Any]
    if settings.predictor is None:
        method = METHODS[settings.method]
    else:
        method = PREDICTORS[settings.method].load(settings.predictor).criterion
    if settings.inverted:
        assert isinstance(method, Criterion)
        return invert(method)
    return method
