"""ERK: layer sizes of Erdos-Renyi-Kernel graphs (Evci et al., ICML 2020), at random positions.

Layers that would need a density above 1 are kept whole. RigL's code rounds every layer down; here
the counts sum to exactly the budget.
"""

from torch import nn

from autos.config import Config
from autos.masks import allocation
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.layerwise import random_positions


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score 1 for weights at random places, with the layer sizes of ERK, and 0 for the others."""
    return random_positions(model, context, allocation.erk)


CRITERION = Criterion(
    "erk", score, data="none", paper="Evci et al., ICML", year=2020, places=True, cost="none"
)
