"""Learning-rate rewinding (Renda et al., ICLR 2020, algorithm 2): IMP that keeps the weights.

Only the learning-rate schedule goes back to its beginning after each cut; the weights go on as
they are. The mask belongs to the trained weights, from which the last training starts, and not to
the initialisation.
"""

from torch import nn

from autos.methods.base import Context, Found, TrainingMethod
from autos.methods.cycles import Settings, magnitude_cycles
from autos.methods.schedules import geometric
from autos.training.budget import Budget


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Find a mask by cycles of training and pruning that keep the trained weights."""
    densities = geometric(context.density, context.settings.pruned)
    mask = magnitude_cycles(
        model, densities, lambda mask, _: budget.train(model, mask=mask), rewind=False
    )
    return Found(mask, start=model.state_dict())


METHOD = TrainingMethod(
    "lr_rewinding",
    search,
    paper="Renda et al., ICLR",
    year=2020,
    cost="1 training per 20 % pruned",
    settings=Settings,
)
