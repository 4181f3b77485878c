"""Gradual magnitude pruning (Zhu and Gupta, ICLR workshop 2018, eq. 1): prune while training.

Every `period` steps the smallest |w| of the whole network go, many at first and ever fewer, by the
cubic schedule. (The paper prunes all layers alike; the whole network at once, as here, is what
later work does.) The paper has periods of 100 to 1000 steps, and asks for an end before the
learning rate is small, with time to recover, but names no share of the training: 3/4 is our choice.
"""

from torch import nn

from autos.methods import _gradual
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget


class Settings(_gradual.Settings):
    """Settings of gradual pruning, with defaults for pruning by magnitude."""

    period: _gradual.Period = 100
    begin: _gradual.Share = 0.0
    end: _gradual.Share = 0.75


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Find a mask by gradual magnitude pruning in one training."""
    settings = context.settings
    pruning = _gradual.GradualPruning(model, settings.cuts(context.density, budget))
    return _gradual.prune_gradually(model, budget, pruning, rewind=settings.rewind)


METHOD = TrainingMethod(
    "gmp",
    search,
    paper="Zhu and Gupta, ICLR workshop",
    year=2018,
    cost="3/4 of a training",
    settings=Settings,
)
