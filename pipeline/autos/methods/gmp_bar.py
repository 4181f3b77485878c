"""GMP with a short period and a large learning rate: a mask from half a training.

The method is that of "Revisiting the Lottery Ticket Hypothesis for Pre-trained Networks", section
5, and its mask is for the initialisation. The larger learning rate is for finding the mask only.
The paper tunes period and learning rate by short trials; its example (table 3, CIFAR-100 at density
0.01) is a cut every 2 steps at a learning rate of 10^-2, where GMP does best with 10^-2.5. The
10,000 of 20,000 steps that the paper takes are here the first half of the recipe, schedule
included.
"""

from pydantic import Field
from torch import nn

from autos.methods import _gradual
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget


class Settings(_gradual.Settings):
    """Settings of gradual pruning, with defaults for a short search."""

    period: _gradual.Period = 2
    begin: _gradual.Share = 0.0
    end: _gradual.Share = 0.5
    lr_factor: float = Field(default=10**0.5, gt=0)
    """Factor of the recipe's learning rate."""


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Find a mask by gradual magnitude pruning at a larger learning rate."""
    settings = context.settings
    pruning = _gradual.GradualPruning(model, settings.cuts(context.density, budget))
    lr = budget.recipe.lr * settings.lr_factor
    return _gradual.prune_gradually(model, budget, pruning, rewind=settings.rewind, lr=lr)


METHOD = TrainingMethod(
    "gmp_bar",
    search,
    paper="Revisiting the Lottery Ticket Hypothesis for Pre-trained Networks",
    year=2023,
    cost="1/2 of a training",
    settings=Settings,
)
