"""GMP with a short period and a large learning rate ("Revisiting the Lottery Ticket Hypothesis for
Pre-trained Networks", section 5): a mask for the initialisation from half a training.

The larger learning rate is for finding the mask only. The paper tunes both by short trials; its
example (table 3, CIFAR-100 at density 0.01) is a cut every 2 steps at 10^-2 where GMP does best
with 10^-2.5. Its 10,000 of 20,000 steps are the first half of the recipe's here, schedule and all.
"""

from pydantic import Field
from torch import nn

from pipeline.budget import Budget
from pipeline.method import Context, Found, TrainingMethod
from pipeline.methods import _gradual


class Settings(_gradual.Settings):
    period: _gradual.Period = 2
    begin: _gradual.Share = 0.0
    end: _gradual.Share = 0.5
    lr_factor: float = Field(default=10**0.5, gt=0)
    """Times the recipe's learning rate."""


def search(model: nn.Module, context: Context, budget: Budget) -> Found:
    settings = context.settings
    pruning = _gradual.GradualPruning(model, settings.cuts(context.density, budget))
    lr = budget.recipe.lr * settings.lr_factor
    return _gradual.prune_gradually(model, budget, pruning, rewind=settings.rewind, lr=lr)


METHOD = TrainingMethod(
    search,
    paper="Revisiting the Lottery Ticket Hypothesis for Pre-trained Networks",
    year=2023,
    cost="1/2 of a training",
    settings=Settings,
)
