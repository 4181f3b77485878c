"""Uniform+ pruning (Gale et al., arXiv 2019): uniform, but with two layers protected.

The first convolution stays whole and the last linear layer keeps at least a fifth of its weights;
positions are random. A density that these two layers alone exceed is refused.
"""

from functools import partial

from pydantic import Field
from torch import nn

from pipeline import allocation
from pipeline.config import Config
from pipeline.criterion import Criterion
from pipeline.layerwise import random_positions
from pipeline.method import Context
from pipeline.selection import Scores


class Settings(Config):
    """Of uniform+."""

    last: float = Field(default=0.2, ge=0, le=1)
    """The least density of the last linear layer."""


def score(model: nn.Module, context: Context) -> Scores:
    allocate = partial(allocation.uniform_plus, last=context.settings.last)
    return random_positions(model, context, allocate)


CRITERION = Criterion(
    score, settings=Settings, data="none", paper="Gale et al., arXiv", year=2019, cost="none"
)
