"""Skeletonization of weights (Mozer and Smolensky, NeurIPS 1988): -w * dL/dw, with its sign.

To first order the loss grows by this when the weight is removed, so what is pruned first is what
lowers the loss most. The form is that of Tanaka et al. (NeurIPS 2020); the original removes whole
units, by a running average of the derivative in their gates and the absolute error.
"""

from torch import nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score every weight by -w * dL/dw."""
    gradient = mean_gradient(model, context.batches, context.loss)
    return {name: gradient[name].mul_(w.detach()).neg_() for name, w in prunable(model).items()}


CRITERION = Criterion(
    "skeletonization", score, paper="Mozer and Smolensky, NeurIPS", year=1988, cost="1 gradient"
)
