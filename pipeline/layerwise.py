"""Random pruning to a number of weights per layer that is decided beforehand."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pipeline.method import Context
from pipeline.prunable import prunable
from pipeline.selection import Scores

Allocation = Callable[[Mapping[str, torch.Size], int], Mapping[str, int]]
"""From the shapes of the layers and the number of weights to keep to the number in each layer."""


def random_positions(model: nn.Module, context: Context, allocate: Allocation) -> Scores:
    """1 for as many weights of each layer as are allocated to it, drawn at random, else 0."""
    weights = prunable(model)
    shapes = {name: weight.shape for name, weight in weights.items()}
    kept = round(context.density * sum(weight.numel() for weight in weights.values()))
    counts = allocate(shapes, kept)
    return {name: _drawn(shapes[name], counts[name], context.generator) for name in weights}


def _drawn(shape: torch.Size, count: int, generator: torch.Generator) -> Tensor:
    scores = torch.zeros(shape.numel())
    scores[torch.randperm(len(scores), generator=generator)[:count]] = 1
    return scores.view(shape)
