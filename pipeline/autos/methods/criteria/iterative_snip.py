"""Iterative SNIP (de Jorge et al., ICLR 2021, section 5): SNIP in rounds, on what is left.

The density falls by the same factor in every round. A weight that was pruned never comes back; that
is what FORCE changes. Rounds can cut every path through a deep network, as in SNIP-it.
"""

from autos.config import Config, Rounds
from autos.methods.base import Criterion
from autos.methods.criteria import snip_it
from autos.methods.schedules import exponential


class Settings(Config):
    """Settings of iterative SNIP and FORCE."""

    rounds: Rounds = 60
    """Number of rounds; that of the paper, while the authors' code has 10."""


CRITERION = Criterion(
    "iterative_snip",
    snip_it.score,
    densities=lambda density, settings: exponential(density, settings.rounds),
    settings=Settings,
    paper="de Jorge et al., ICLR",
    year=2021,
    cost="60 gradients",
)
