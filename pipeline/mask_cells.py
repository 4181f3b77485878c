"""One cell of the grid of masks: target x criterion x density x seed."""

import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from pipeline.batches import Batches
from pipeline.compute import Hardware
from pipeline.config import Config, Density
from pipeline.criterion import Criterion
from pipeline.flops import forward_flops
from pipeline.images import ImageSet, ScoringConfig
from pipeline.masks import Mask
from pipeline.method import Found, Method
from pipeline.methods import METHODS
from pipeline.networks import NetworkConfig
from pipeline.pruning import EmptyLayerWarning, find
from pipeline.recipes import TrainConfig
from pipeline.sanity import invert
from pipeline.units import Result

START = "start/"
"""What the names of a result's tensors begin with that are no mask but weights to train from."""


class MaskCell(Config):
    """Settings of a unit: one mask."""

    network: NetworkConfig
    images: Path
    criterion: str
    settings: dict[str, Any]
    """All hyperparameters of the criterion."""
    inverted: bool
    """Keep the lowest scores: a check of a criterion's sanity."""
    density: Density
    seed: int
    """Of the initialisation, of the choice of scoring images, and of random criteria."""
    scoring: ScoringConfig
    recipe: TrainConfig | None
    """Of the target, for a method that trains."""
    hardware: Hardware


def method_mask(cell: MaskCell) -> Result:
    """The mask of a method in the registry."""
    return find_mask(cell, METHODS[cell.criterion])


def find_mask(cell: MaskCell, method: Method) -> Result:
    """The mask and where to train on from, described by what it keeps and what it cost."""
    if cell.inverted:
        assert isinstance(method, Criterion)
        method = invert(method)
    images = ImageSet.load(cell.images)
    device = cell.hardware.device
    model = cell.network.build(images, seed=cell.seed).to(device)
    model.train(cell.scoring.batch_norm == "train")
    batches: Batches
    if cell.recipe:
        from pipeline.training import ShuffledImages  # Lightning takes seconds to import

        batches = ShuffledImages(images, cell.recipe, seed=cell.seed, device=device)
    else:
        batches = cell.scoring.batches(images, seed=cell.seed, device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmptyLayerWarning)  # the stage tells, for all cells
        found = find(
            model,
            method,
            batches,
            density=cell.density,
            seed=cell.seed,
            settings=cell.settings,
            recipe=cell.recipe,
            hardware=cell.hardware,
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
    return described(found, cost=cost, seconds=found.cost.seconds)


def described(found: Found, **about: Any) -> Result:
    """A result of mask and start, which tells about the mask and whatever is given."""
    mask = found.mask
    facts = {
        "kept": mask.kept,
        "total": mask.total,
        "layer_densities": mask.layer_densities(),
        "empty_layers": mask.empty_layers(),
        "step": found.step,
        "trained": found.trained,
        **about,
    }
    start = {START + name: tensor for name, tensor in (found.start or {}).items()}
    return Result({**mask.keep, **start}, facts)


def found_in(result: Result) -> Found:
    """What a result of `described` was made of, without its cost."""
    keep: dict[str, Tensor] = {}
    start: dict[str, Tensor] = {}
    for name, tensor in result.tensors.items():
        if name.startswith(START):
            start[name.removeprefix(START)] = tensor
        else:
            keep[name] = tensor
    step, trained = result.about["step"], result.about["trained"]
    return Found(Mask(keep), start or None, step, trained)
