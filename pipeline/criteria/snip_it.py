"""SNIP-it (Verdenius et al., arXiv 2020): SNIP in rounds that halve the way to the final density.

Seven rounds are the authors'. Their code takes the negative log-likelihood of raw logits, without
a softmax; here the loss is that of SNIP. Rounds can cut every path through a deep network; then all
gradients are 0, all weights are worth the same, and the mask keeps nothing that could learn.
"""

from pydantic import Field
from torch import nn

from pipeline.config import Config
from pipeline.criteria.snip import saliency
from pipeline.criterion import Criterion
from pipeline.gradients import loss_gradient, mean_gradient
from pipeline.method import Context
from pipeline.prunable import prunable
from pipeline.schedules import halving
from pipeline.selection import Scores


class Settings(Config):
    """Of SNIP-it."""

    rounds: int = Field(default=7, gt=0)


def score(model: nn.Module, context: Context) -> Scores:
    """Of SNIP. In a network that is whole, gradients that are all 0 are an error as ever."""
    whole = all(weight.all() for weight in prunable(model).values())
    gradient = mean_gradient if whole else loss_gradient
    return saliency(model, gradient(model, context.batches, context.loss))


CRITERION = Criterion(
    score,
    densities=lambda density, settings: halving(density, settings.rounds),
    settings=Settings,
    paper="Verdenius et al., arXiv",
    year=2020,
    cost="7 gradients",
)
