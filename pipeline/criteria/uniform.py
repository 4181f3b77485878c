"""Uniform pruning: every layer keeps the same share of its weights, at random positions.

The baseline of Zhu and Gupta (ICLR workshop 2018). Random pruning of the whole network does so on
average, this exactly.
"""

from torch import nn

from pipeline import allocation
from pipeline.criterion import Criterion
from pipeline.layerwise import random_positions
from pipeline.method import Context
from pipeline.selection import Scores


def score(model: nn.Module, context: Context) -> Scores:
    return random_positions(model, context, allocation.uniform)


CRITERION = Criterion(
    score, data="none", paper="Zhu and Gupta, ICLR workshop", year=2018, cost="none"
)
