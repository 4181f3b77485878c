"""What the unit of a mask keeps: the mask, the weights to train on from, and facts about them."""

from typing import Any

from torch import Tensor

from autos.masks.mask import Mask
from autos.methods.base import Found
from autos.work.units import Result

START = "start/"
"""Prefix of the names of tensors that are weights to train from, and not masks."""


def described(found: Found, **about: Any) -> Result:
    """Make a result of what a method found, with facts about the mask and all that is given."""
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
    """Return what a method found from a result that `described` made, without its cost."""
    keep: dict[str, Tensor] = {}
    start: dict[str, Tensor] = {}
    for name, tensor in result.tensors.items():
        if name.startswith(START):
            start[name.removeprefix(START)] = tensor
        else:
            keep[name] = tensor
    step, trained = result.about["step"], result.about["trained"]
    return Found(Mask(keep), start or None, step, trained)
