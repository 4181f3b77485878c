"""DSR, dynamic sparse reparameterization (Mostafa and Wang, ICML 2019, Algorithm 1).

Training starts from a random mask with the same density in every layer. Every `interval` steps all
weights with |w| below one threshold tau for the whole network are dropped, but for the largest
weight of a layer that would lose all. As many are grown at random places, shared among the layers
in proportion to the weights that they still have. tau doubles if less than 0.9 of the target was
dropped, and halves if it was more than 1.1 of it.

The paper gives the target N_p as a number for each network: 20,000 for the WRN-28-2 that keeps
146,000 weights, hence the default share. Its interval grows from 100 steps to 800 in the course of
the training; here it stays, and is an epoch where that is shorter. As in all dynamic methods of
this package, weights that are just dropped may grow again (the authors' code excludes them), so
that there is always room; what a full layer cannot take goes to the others in proportion. The
authors' code is the paper's method only with two of its flags, and drops whole kernels by default;
this module follows the paper. The mask changes after the optimizer's step. The number of kept
weights stays the same in the whole network, and may change in a layer.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.allocation import share, uniform
from autos.methods._rewiring import due, largest, pick, random_mask, rewire_, train
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop


class Settings(Config):
    """Settings of dynamic sparse reparameterization."""

    threshold: float = Field(default=1e-3, gt=0)
    """Threshold tau at the beginning."""

    drop: float = Field(default=0.14, gt=0, le=1)
    """Target: the share of the kept weights that an update is to drop."""

    interval: int = Field(default=100, gt=0, le=10**9)
    """Number of steps from update to update; an epoch, if that is shorter."""

    end: float = Field(default=0.95, gt=0, le=1)
    """Share of the training after which the mask rests."""


class DSR(Callback):
    """Drops weights below a threshold at regular steps, and grows as many at random places."""

    def __init__(self, settings: Settings, generator: torch.Generator) -> None:
        self.settings = settings
        self.generator = generator
        self.threshold = settings.threshold

    @torch.no_grad()
    def after_step(self, loop: Loop) -> None:
        if not due(loop, self.settings.interval, self.settings.end):
            return
        dropped: dict[str, Tensor] = {}
        free: dict[str, Tensor] = {}
        survivors: dict[str, int] = {}
        for name, weight in loop.weights.items():
            keep, size = loop.keep[name].bool(), weight.abs()
            below = keep & (size < self.threshold) & ~largest(size, keep, 1)
            dropped[name], free[name] = below, ~keep | below
            survivors[name] = int((keep & ~below).count_nonzero())
        total = sum(int(places.count_nonzero()) for places in dropped.values())
        room = {name: int(places.count_nonzero()) for name, places in free.items()}
        for name, count in share(total, survivors, room).items():
            grown = pick(free[name], count, self.generator)
            rewire_(loop, name, dropped=dropped[name], grown=grown)
        target = self.settings.drop * (total + sum(survivors.values()))
        if total > 1.1 * target:
            self.threshold /= 2
        elif total < 0.9 * target:
            self.threshold *= 2


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train once by dynamic sparse reparameterization, from a random mask."""
    mask = random_mask(model, context, uniform)
    return train(model, budget, mask, DSR(context.settings, context.generator), per_layer=False)


METHOD = TrainingMethod(
    "dsr",
    search,
    kind="dynamic",
    paper="Mostafa and Wang, ICML",
    year=2019,
    cost="1 training",
    settings=Settings,
)
