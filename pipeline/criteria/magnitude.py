"""Magnitude pruning: |w| (Han et al., NeurIPS 2015)."""

from torch import nn

from pipeline.criterion import Context, Criterion
from pipeline.prunable import prunable
from pipeline.selection import Scores


def score(model: nn.Module, context: Context) -> Scores:
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}


CRITERION = Criterion(score)
