"""Uniform pruning: every layer keeps the same share of its weights, at random positions.

This is the baseline of Zhu and Gupta (ICLR workshop 2018). Random pruning of the whole network
keeps the same share of every layer on average; this criterion does so exactly.
"""

from torch import nn

from autos.config import Config
from autos.masks import allocation
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.layerwise import random_positions


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score 1 for weights at random places, the same share of every layer, and 0 for the others."""
    return random_positions(model, context, allocation.uniform)


CRITERION = Criterion(
    "uniform",
    score,
    data="none",
    paper="Zhu and Gupta, ICLR workshop",
    year=2018,
    places=True,
    cost="none",
)
