"""Random pruning to a number of weights per layer that is decided beforehand."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autos.masks.selection import Scores
from autos.methods.base import Context
from autos.network.prunable import layouts, prunable

Allocation = Callable[[Mapping[str, torch.Size], int], Mapping[str, int]]
"""Function from the shapes of the layers, as of `Layout.by_unit`, and the number of weights to keep
in the whole network to the number of weights to keep in each layer."""


def random_positions(model: nn.Module, context: Context[Any], allocate: Allocation) -> Scores:
    """Draw as many weights of each layer as are allocated to it; they score 1, the others 0.

    Args:
        model: The network.
        context: Gives the density and the source of randomness.
        allocate: Function that shares the weights to keep among the layers.
    """
    axes, weights = layouts(model), prunable(model)
    shapes = {name: axes[name].by_unit(weight).shape for name, weight in weights.items()}
    kept = round(context.density * sum(weight.numel() for weight in weights.values()))
    counts = allocate(shapes, kept)
    return {
        name: _drawn(weight.shape, counts[name], context.generator)
        for name, weight in weights.items()
    }


def _drawn(shape: torch.Size, count: int, generator: torch.Generator) -> Tensor:
    scores = torch.zeros(shape.numel())
    scores[torch.randperm(len(scores), generator=generator)[:count]] = 1
    return scores.view(shape)
