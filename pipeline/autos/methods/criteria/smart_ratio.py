"""Smart ratio, or random tickets (Su et al., NeurIPS 2020): density falls quadratically with depth.

The last linear layer keeps a fixed share, other layers fill the budget, and what a whole layer has
no room for goes to the next one; positions are random. The authors' code fixes every linear layer,
stops handing on at the first layer with room, and misses the budget by rounding down. A density
that the last layer alone exceeds is refused.
"""

from functools import partial
from typing import Literal

from pydantic import Field
from torch import nn

from autos.config import Config
from autos.masks import allocation
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.layerwise import random_positions


class Settings(Config):
    """Settings of the smart ratio."""

    family: Literal["resnet", "vgg"] = "resnet"
    """Family of the network; densities of VGGs are divided by the square of the layer's number."""
    last: float = Field(default=0.3, ge=0, le=1)
    """Density of the last linear layer."""


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score 1 for weights at random places, with the densities of the smart ratio, else 0.

    Raises:
        UserError: The last linear layer alone would keep more weights than the whole network.
    """
    settings = context.settings
    allocate = partial(allocation.smart_ratio, steep=settings.family == "vgg", last=settings.last)
    return random_positions(model, context, allocate)


CRITERION = Criterion(
    "smart_ratio",
    score,
    settings=Settings,
    data="none",
    paper="Su et al., NeurIPS",
    year=2020,
    places=True,
    cost="none",
)
