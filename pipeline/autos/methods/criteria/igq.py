"""IGQ, ideal gas quotas (Vysogorets and Kempe, JMLR 2023, section 4): large layers are pruned more.

A layer of n weights has the density 1 / (1 + F n), with one F for the whole network that meets the
budget, and random positions.
"""

from torch import nn

from autos.config import Config
from autos.masks import allocation
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.layerwise import random_positions


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score 1 for weights at random places, with the layer sizes of IGQ, and 0 for the others."""
    return random_positions(model, context, allocation.igq)


CRITERION = Criterion(
    "igq",
    score,
    data="none",
    paper="Vysogorets and Kempe, JMLR",
    year=2023,
    places=True,
    cost="none",
)
