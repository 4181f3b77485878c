"""SNIP-it (Verdenius et al., arXiv 2020): SNIP in rounds that halve the way to the final density.

The default of seven rounds is the authors'. Their code takes the negative log-likelihood of raw
logits, without a softmax; here the loss is that of SNIP. Rounds can cut every path through a deep
network; then all gradients are 0, all weights are worth the same, and the mask keeps nothing that
could learn.
"""

from typing import Any

from torch import nn

from autos.config import Config, Rounds
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.criteria.snip import saliency
from autos.methods.schedules import halving
from autos.network.gradients import loss_gradient, mean_gradient
from autos.network.prunable import prunable


class Settings(Config):
    """Settings of SNIP-it."""

    rounds: Rounds = 7
    """Number of rounds."""


def score(model: nn.Module, context: Context[Any]) -> Scores:
    """Score every weight by |w * dL/dw|.

    Raises:
        UserError: The loss or a gradient is NaN or infinite, or all gradients are 0 although the
            network is not pruned yet.
    """
    whole = all(weight.all() for weight in prunable(model).values())
    gradient = mean_gradient if whole else loss_gradient
    return saliency(model, gradient(model, context.batches, context.loss))


CRITERION = Criterion(
    "snip_it",
    score,
    densities=lambda density, settings: halving(density, settings.rounds),
    settings=Settings,
    paper="Verdenius et al., arXiv",
    year=2020,
    cost="7 gradients",
)
