"""Train, prune the smallest weights of the whole network, rewind, and again: the cycle of IMP.

Masks are nested. What is rewound is everything: weights, biases, BatchNorm's scale, shift and
running statistics; the optimizer, its learning rate and the order of the batches begin anew.
"""

from collections.abc import Callable, Sequence

from pydantic import Field
from torch import nn

from pipeline.config import Config
from pipeline.masks import Mask
from pipeline.prunable import prunable
from pipeline.selection import Scores, keep_top
from pipeline.working_copy import rewind_, working_copy


class Settings(Config):
    """Of a method that prunes in cycles."""

    pruned: float = Field(default=0.2, gt=0, lt=1)
    """Share of the remaining weights that a cycle prunes; the last one stops at the density."""


def magnitudes(model: nn.Module) -> Scores:
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}


def cycles(
    model: nn.Module,
    densities: Sequence[float],
    train: Callable[[Mask, int], None],
    *,
    rewind: bool = True,
) -> Mask:
    """The mask after as many cycles as there are densities.

    Args:
        model: as every cycle finds it, and as it is at the end; or trained on from cycle to
            cycle, where it does not `rewind`.
        train: trains `model` in place under a mask, in the cycle with this number, from 0.
    """
    start = working_copy(model)
    mask = Mask.dense(model)
    for index, density in enumerate(densities):
        train(mask, index)
        mask = keep_top(magnitudes(model), density, within=mask)
        if rewind:
            rewind_(model, start)
    return mask
