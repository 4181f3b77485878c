"""Iterative magnitude pruning, the lottery ticket (Frankle and Carbin, ICLR 2019, section 1).

Train to the end, prune a fifth of the weights that are left, those of smallest |w| in the whole
network, set the others back to their initial values, and so on until the density is reached. The
paper prunes the output layer at half the rate or, in its code, not at all; here it is a layer like
all others.
"""

from torch import nn

from autos.methods.base import Context, Found, TrainingMethod
from autos.methods.cycles import Settings, magnitude_cycles
from autos.methods.schedules import geometric
from autos.training.budget import Budget


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Find a mask by cycles of training, pruning and rewinding to the initialisation."""
    densities = geometric(context.density, context.settings.pruned)
    return Found(magnitude_cycles(model, densities, lambda mask, _: budget.train(model, mask=mask)))


METHOD = TrainingMethod(
    "imp",
    search,
    paper="Frankle and Carbin, ICLR",
    year=2019,
    cost="1 training per 20 % pruned",
    settings=Settings,
)
