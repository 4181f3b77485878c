"""SNIP-it (Verdenius et al., arXiv 2020): SNIP in rounds that halve the way to the final density.

Seven rounds are the authors'. Their code takes the negative log-likelihood of raw logits, without
a softmax; here the loss is that of SNIP.
"""

from pydantic import Field

from pipeline.config import Config
from pipeline.criteria.snip import score
from pipeline.criterion import Criterion
from pipeline.schedules import halving


class Settings(Config):
    """Of SNIP-it."""

    rounds: int = Field(default=7, gt=0)


CRITERION = Criterion(
    score,
    densities=lambda density, settings: halving(density, settings.rounds),
    settings=Settings,
    paper="Verdenius et al., arXiv",
    year=2020,
    cost="7 gradients",
)
