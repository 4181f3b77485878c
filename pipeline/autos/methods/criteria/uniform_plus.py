"""Uniform+ pruning (Gale et al., arXiv 2019): uniform, but with two layers protected.

The first convolution stays whole and the last linear layer keeps at least a fifth of its weights;
positions are random. A density that these two layers alone exceed is refused.
"""

from functools import partial

from pydantic import Field
from torch import nn

from autos.config import Config
from autos.masks import allocation
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.layerwise import random_positions


class Settings(Config):
    """Settings of uniform+."""

    last: float = Field(default=0.2, ge=0, le=1)
    """Least density of the last linear layer."""


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score 1 for weights at random places, with the densities of uniform+, else 0.

    Raises:
        UserError: The two protected layers alone would keep more weights than the whole network.
    """
    allocate = partial(allocation.uniform_plus, last=context.settings.last)
    return random_positions(model, context, allocate)


CRITERION = Criterion(
    "uniform_plus",
    score,
    settings=Settings,
    data="none",
    paper="Gale et al., arXiv",
    year=2019,
    places=True,
    cost="none",
)
