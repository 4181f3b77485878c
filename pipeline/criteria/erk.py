"""ERK: layer sizes of Erdos-Renyi-Kernel graphs (Evci et al., ICML 2020), at random positions.

Layers that would need a density above 1 are kept whole. RigL's code rounds every layer down; here
the counts sum to exactly the budget.
"""

from torch import nn

from pipeline import allocation
from pipeline.criterion import Criterion
from pipeline.layerwise import random_positions
from pipeline.method import Context
from pipeline.selection import Scores


def score(model: nn.Module, context: Context) -> Scores:
    return random_positions(model, context, allocation.erk)


CRITERION = Criterion(score, data="none", paper="Evci et al., ICML", year=2020, cost="none")
