"""LAMP (Lee et al., ICLR 2021, eq. 4): w^2 over the sum of the squares that are no smaller.

The sum is over the weight's own layer. The largest weight of every layer scores 1, and the scale of
a layer does not matter: it is magnitude pruning with a density for each layer that follows from how
the magnitudes are spread in it. The authors prune trained networks.
"""

import torch
from torch import Tensor, nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.prunable import prunable


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score every weight by w^2 / sum of v^2 over the layer's weights v with |v| >= |w|."""
    return {name: _scored(weight.detach()) for name, weight in prunable(model).items()}


def _scored(weight: Tensor) -> Tensor:
    # The largest weight is taken out first, so that no square overflows.
    squares = (weight.double() / weight.abs().max().clamp(min=1e-300)).flatten().square()
    ordered, order = squares.sort(descending=True, stable=True)
    scores = torch.empty_like(squares)
    scores[order] = ordered / ordered.cumsum(0).clamp(min=1e-300)
    return scores.view_as(weight)


CRITERION = Criterion("lamp", score, data="none", paper="Lee et al., ICLR", year=2021, cost="none")
