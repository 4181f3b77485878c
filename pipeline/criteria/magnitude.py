"""Magnitude pruning: |w| (Han et al., NeurIPS 2015)."""

from torch import nn

from pipeline.criterion import Criterion
from pipeline.method import Context
from pipeline.prunable import prunable
from pipeline.selection import Scores


def score(model: nn.Module, context: Context) -> Scores:
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}


CRITERION = Criterion(score, data="none", paper="Han et al., NeurIPS", year=2015, cost="none")
