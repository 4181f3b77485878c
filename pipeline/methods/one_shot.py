"""One-shot magnitude pruning: train once, prune the smallest |w| at once, reset.

Han et al. (NeurIPS 2015) go on training the weights that are left. Here those are set back to their
initial values, as in algorithm 1 (R = 1) of "Revisiting the Lottery Ticket Hypothesis for
Pre-trained Networks".
"""

from torch import nn

from pipeline.budget import Budget
from pipeline.method import Context, Found, TrainingMethod
from pipeline.methods._cycles import cycles


def search(model: nn.Module, context: Context, budget: Budget) -> Found:
    densities = [context.density]
    return Found(cycles(model, densities, lambda mask, _: budget.train(model, mask=mask)))


METHOD = TrainingMethod(search, paper="Han et al., NeurIPS", year=2015, cost="1 training")
