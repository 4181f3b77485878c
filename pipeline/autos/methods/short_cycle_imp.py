"""IMP in short cycles: as many as IMP has, but together they take no longer than one training.

This is what "Revisiting the Lottery Ticket Hypothesis for Pre-trained Networks" (algorithm 1, R > 1
and I < I*) calls EB; it has neither the channels nor the test of the Early-Bird paper, for which
see `early_bird`. The paper makes up for the short cycles with a larger learning rate, without
saying which; the default is the factor that it reports for GMP (table 3).

Our decisions: the learning rate is constant, as a schedule that falls over I* steps would leave the
last cycles nothing to learn with; and a cycle takes the batches that follow those of the one
before, so that together they see as much of the data as one training.
"""

from pydantic import Field
from torch import nn

from autos.masks.mask import Mask
from autos.methods import cycles
from autos.methods.base import Context, Found, TrainingMethod
from autos.methods.schedules import geometric
from autos.training.budget import Budget


class Settings(cycles.Settings):
    """Settings of IMP in short cycles."""

    lr_factor: float = Field(default=10**0.5, gt=0)
    """Factor of the recipe's learning rate."""


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Find a mask by short cycles of training, pruning and rewinding to the initialisation."""
    settings = context.settings
    densities = geometric(context.density, settings.pruned)

    def train(mask: Mask, cycle: int) -> None:
        first, last = (budget.steps * n // len(densities) for n in (cycle, cycle + 1))
        budget.train(
            model,
            mask=mask,
            first_step=first,
            last_step=last,
            lr=budget.recipe.lr * settings.lr_factor,
            schedule="multistep",
            milestones=[],
        )

    return Found(cycles.magnitude_cycles(model, densities, train))


METHOD = TrainingMethod(
    "short_cycle_imp",
    search,
    paper="Revisiting the Lottery Ticket Hypothesis for Pre-trained Networks",
    year=2023,
    cost="1 training",
    settings=Settings,
)
