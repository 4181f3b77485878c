"""Skeletonization (Mozer and Smolensky, NeurIPS 1988), of weights: -w * dL/dw, with its sign.

To first order the loss grows by this when the weight is removed, so what is pruned first is what
lowers the loss most. The form is that of Tanaka et al. (NeurIPS 2020); the original removes whole
units, by a running average of the derivative in their gates and the absolute error.
"""

from torch import nn

from pipeline.criterion import Criterion
from pipeline.gradients import mean_gradient
from pipeline.method import Context
from pipeline.prunable import prunable
from pipeline.selection import Scores


def score(model: nn.Module, context: Context) -> Scores:
    gradient = mean_gradient(model, context.batches, context.loss)
    return {name: gradient[name].mul_(w.detach()).neg_() for name, w in prunable(model).items()}


CRITERION = Criterion(score, paper="Mozer and Smolensky, NeurIPS", year=1988, cost="1 gradient")
