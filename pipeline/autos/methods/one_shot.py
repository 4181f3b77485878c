"""One-shot magnitude pruning: train once, prune the smallest |w| at once, reset.

Han et al. (NeurIPS 2015) go on training the weights that are left. Here those are set back to their
initial values, as in algorithm 1 (R = 1) of "Revisiting the Lottery Ticket Hypothesis for
Pre-trained Networks".
"""

from torch import nn

from autos.config import Config
from autos.methods.base import Context, Found, TrainingMethod
from autos.methods.cycles import magnitude_cycles
from autos.training.budget import Budget


def search(model: nn.Module, context: Context[Config], budget: Budget) -> Found:
    """Find a mask by one training and one cut."""
    densities = [context.density]
    return Found(magnitude_cycles(model, densities, lambda mask, _: budget.train(model, mask=mask)))


METHOD = TrainingMethod(
    "one_shot", search, paper="Han et al., NeurIPS", year=2015, cost="1 training"
)
