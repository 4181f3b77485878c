"""Train, prune what is left, and go back: the cycle of iterative magnitude pruning, and of IRP.

Masks are nested. What is rewound is everything: weights, biases, BatchNorm's scale, shift and
running statistics; the optimizer, its learning rate and the order of the batches begin anew.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from pydantic import Field
from torch import nn

from autos.config import Config
from autos.masks.mask import Mask
from autos.methods.base import Context, Criterion
from autos.methods.criteria import magnitude
from autos.network.working_copy import rewind_, working_copy

T = TypeVar("T")


class Settings(Config):
    """Settings of a method that prunes in cycles."""

    pruned: float = Field(default=0.2, ge=0.01, lt=1)
    """Share of the remaining weights that a cycle prunes; the last cycle stops at the density."""


def train_and_prune(
    model: nn.Module,
    mask: Mask,
    *,
    train: Callable[[nn.Module, Mask], T],
    criterion: Criterion[Any],
    context: Context[Any],
) -> tuple[Mask, T]:
    """Go through one cycle up to the cut: train under the mask, and prune by the trained weights.

    Args:
        model: The network, which is trained in place.
        mask: The weights that are left.
        train: Trains the network that it is given, in place, under the mask.
        criterion: Scores the weights that are left.
        context: What the criterion may look at; its density is that after the cut.

    Returns:
        The mask after the cut, a subset of `mask`, and what `train` returned.
    """
    told = train(model, mask)
    return criterion.find(model, context, within=mask).mask, told


def magnitude_cycles(
    model: nn.Module,
    densities: Sequence[float],
    train: Callable[[Mask, int], None],
    *,
    rewind: bool = True,
) -> Mask:
    """Prune the smallest weights of the whole network, in as many cycles as there are densities.

    Args:
        model: The network with which every cycle begins, and which is rewound at the end as well;
            without `rewind` it is trained on from cycle to cycle.
        densities: Density after each cycle.
        train: Trains `model` in place under a mask, in the cycle with this number, from 0.
        rewind: Whether the network goes back to where it was before the first cycle.

    Returns:
        The mask after the last cycle.
    """
    start = working_copy(model)
    mask = Mask.dense(model)
    for index, density in enumerate(densities):

        def train_in_cycle(_: nn.Module, mask: Mask, index: int = index) -> None:
            train(mask, index)

        context: Context[Config] = Context((), density, torch.Generator())
        mask, _ = train_and_prune(
            model, mask, train=train_in_cycle, criterion=magnitude.CRITERION, context=context
        )
        if rewind:
            rewind_(model, start)
    return mask
