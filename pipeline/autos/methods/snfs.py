"""SNFS, sparse networks from scratch, sparse momentum (Dettmers and Zettlemoyer, 2019, section 3).

Training starts from a random mask with the same density in every layer. After every epoch each
layer drops the share p of its weights with the smallest |w|. The layers share the places that are
free now, all together, in proportion to the mean |momentum| of the weights that they still have,
and each layer grows where |momentum| is largest. p goes from `drop` to `last_drop` along a cosine
over the training.

Momentum is the paper's: an exponential mean of the dense gradient, for pruned weights as for kept
ones. It is kept apart from the optimizer, which may have no momentum (and in the authors' code
loses that of pruned weights after every epoch).

A layer may become full; what it cannot take goes to the others in proportion. The authors' code
stops at 99 % and spreads the rest evenly, and corrects drifting counts by a running mean. Here
counts are exact, for the whole network and not for each layer. The mask changes after the
optimizer's step, and not after the last epoch.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.allocation import share, uniform
from autos.methods._rewiring import ends_epoch, largest, random_mask, rewire_, smallest, train
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop


class Settings(Config):
    """Settings of sparse momentum."""

    drop: float = Field(default=0.5, gt=0, le=1)
    """Share of a layer's weights that is dropped, at the beginning of the training."""

    last_drop: float = Field(default=0.005, ge=0, le=1)
    """Share of a layer's weights that is dropped, at the end of the training."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the past in the exponential mean of gradients."""


def drop_fraction(progress: float, settings: Settings) -> float:
    """Return p, which is `drop` at the training's beginning (0) and `last_drop` at its end (1)."""
    fall = settings.drop - settings.last_drop
    return settings.last_drop + fall / 2 * (1 + math.cos(math.pi * progress))


class SNFS(Callback):
    """Replaces the smallest weights after every epoch by those with the largest momentum."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def on_start(self, loop: Loop) -> None:
        self.momentum = {name: torch.zeros_like(w) for name, w in loop.weights.items()}

    @torch.no_grad()
    def before_step(self, loop: Loop) -> None:
        for name, weight in loop.weights.items():
            if weight.grad is not None:  # A layer that the loss does not reach has none.
                self.momentum[name].lerp_(weight.grad, 1 - self.settings.momentum)

    @torch.no_grad()
    def after_step(self, loop: Loop) -> None:
        if not ends_epoch(loop):
            return
        fraction = drop_fraction(loop.step / loop.steps, self.settings)
        size = {name: self.momentum[name].abs() for name in loop.weights}
        dropped: dict[str, Tensor] = {}
        free: dict[str, Tensor] = {}
        wishes: dict[str, float] = {}
        for name, weight in loop.weights.items():
            keep = loop.keep[name].bool()
            count = round(fraction * int(keep.count_nonzero()))
            dropped[name] = smallest(weight.abs(), keep, count)
            free[name] = ~keep | dropped[name]
            left = size[name][~free[name]]
            wishes[name] = float(left.mean()) if len(left) else 0.0
        if not all(map(math.isfinite, wishes.values())):
            return  # The training is about to end with an error.
        total = sum(int(places.count_nonzero()) for places in dropped.values())
        room = {name: int(places.count_nonzero()) for name, places in free.items()}
        for name, count in share(total, wishes, room).items():
            grown = largest(size[name], free[name], count)
            rewire_(loop, name, dropped=dropped[name], grown=grown)


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train once by sparse momentum, from a random mask with the same density in every layer."""
    mask = random_mask(model, context, uniform)
    return train(model, budget, mask, SNFS(context.settings), per_layer=False)


METHOD = TrainingMethod(
    "snfs",
    search,
    kind="dynamic",
    paper="Dettmers and Zettlemoyer, arXiv",
    year=2019,
    cost="1 training",
    settings=Settings,
)
