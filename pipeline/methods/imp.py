"""Iterative magnitude pruning, the lottery ticket (Frankle and Carbin, ICLR 2019, section 1).

Train to the end, prune a fifth of the weights that are left, those of smallest |w| in the whole
network, set the others back to their initial values, and so on until the density is reached. The
paper prunes the output layer at half the rate or, in its code, not at all; here it is a layer like
all others.
"""

from torch import nn

from pipeline.budget import Budget
from pipeline.method import Context, Found, TrainingMethod
from pipeline.methods._cycles import Settings, cycles
from pipeline.schedules import geometric


def search(model: nn.Module, context: Context, budget: Budget) -> Found:
    densities = geometric(context.density, context.settings.pruned)
    return Found(cycles(model, densities, lambda mask, _: budget.train(model, mask=mask)))


METHOD = TrainingMethod(
    search,
    paper="Frankle and Carbin, ICLR",
    year=2019,
    cost="1 training per 20 % pruned",
    settings=Settings,
)
