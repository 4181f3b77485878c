"""Magnitude pruning: |w| (Han et al., NeurIPS 2015)."""

from torch import nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.prunable import prunable


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score every weight by |w|."""
    return {name: weight.detach().abs() for name, weight in prunable(model).items()}


CRITERION = Criterion(
    "magnitude", score, data="none", paper="Han et al., NeurIPS", year=2015, cost="none"
)
