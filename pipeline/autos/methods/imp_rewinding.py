"""IMP with rewinding, or warm-up (Frankle et al., ICML 2020): back to an early step k, not to 0.

The network is first trained up to step k. Every cycle begins there, and so does the training of
the ticket: with the weights of step k and with its learning rate and place in the order of the
batches. (The code of Rare Gems starts the schedule from 0 again.) Momentum begins anew.

k is given as a share of the training, so that it fits any budget. The default is that of Rare Gems
(Sreenivasan et al., NeurIPS 2022), step 1000 of 160 epochs of 391 steps; Frankle et al. go up to
three times as far.
"""

from pydantic import Field
from torch import nn

from autos.masks.mask import Mask
from autos.methods import cycles
from autos.methods.base import Context, Found, TrainingMethod
from autos.methods.schedules import geometric
from autos.training.budget import Budget


class Settings(cycles.Settings):
    """Settings of IMP with rewinding."""

    rewind_to: float = Field(default=0.016, gt=0, lt=1)
    """Share of the training that comes before step k; at least one step."""


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train up to step k, then find a mask by cycles of training, pruning and going back to it."""
    step = max(1, round(context.settings.rewind_to * budget.steps))
    budget.train(model, last_step=step)

    def train(mask: Mask, _: int) -> None:
        budget.train(model, mask=mask, first_step=step)

    densities = geometric(context.density, context.settings.pruned)
    mask = cycles.magnitude_cycles(model, densities, train)
    return Found(mask, start=model.state_dict(), step=step)


METHOD = TrainingMethod(
    "imp_rewinding",
    search,
    paper="Frankle et al., ICML",
    year=2020,
    cost="1 training per 20 % pruned",
    settings=Settings,
)
