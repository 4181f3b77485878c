"""Random pruning: every weight is equally likely to stay."""

import torch
from torch import nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.prunable import prunable


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score every weight by a random number in [0, 1)."""
    return {
        name: torch.rand(weight.shape, generator=context.generator, dtype=torch.float64)
        for name, weight in prunable(model).items()
    }


CRITERION = Criterion("random", score, data="none", cost="none")
