"""RigL (Evci et al., ICML 2020): drop the smallest weights, grow where the gradient is largest.

Training starts from a random mask with Erdos-Renyi-Kernel densities (section 3, eq. 1 and Algorithm
1). Every `interval` steps, up to the share `end` of the training, each layer with K weights drops
the f(t) * K weights of smallest |w| and grows as many others, those with the largest |dL/dw|; a
weight that is just dropped may come back, at 0. The share is
f(t) = alpha / 2 * (1 + cos(pi * t / T_end)).

An update takes the place of the optimizer's step: the gradients of that batch, which are dense
anyway, are used for it and then discarded, those of biases and normalisation too. The learning-rate
schedule goes on.

The paper's interval, 100 steps, and its end, 25k of 32k steps, stand beside trainings of hundreds
of epochs; where an epoch is shorter than the interval, an update is due after each epoch. The
authors' code keeps the dropped share constant by default; here it falls along the paper's cosine.
The code also updates before the very first step; here the first weights are trained before some are
dropped.
"""

import math

from pydantic import Field
from torch import nn

from autos.config import Config
from autos.masks.allocation import erk
from autos.methods._rewiring import due, largest, random_mask, rewire_, smallest, train
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop


class Settings(Config):
    """Settings of RigL."""

    alpha: float = Field(default=0.3, gt=0, le=1)
    """Share of a layer's weights that is dropped at the beginning."""

    interval: int = Field(default=100, gt=0, le=10**9)
    """Number of steps from update to update; an epoch, if that is shorter."""

    end: float = Field(default=0.75, gt=0, le=1)
    """Share of the training after which the mask rests."""


def drop_fraction(step: int, end: float, alpha: float) -> float:
    """Return f(t) of the paper at step t: alpha at step 0, and 0 at step `end`."""
    return alpha / 2 * (1 + math.cos(math.pi * step / end))


class RigL(Callback):
    """Replaces the smallest weights at regular steps by those with the largest gradients."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def before_step(self, loop: Loop) -> None:
        if not due(loop, self.settings.interval, self.settings.end):
            return
        fraction = drop_fraction(loop.step, self.settings.end * loop.steps, self.settings.alpha)
        for name, weight in loop.weights.items():
            keep = loop.keep[name].bool()
            count = round(fraction * int(keep.count_nonzero()))
            if count and weight.grad is not None:  # A layer that the loss does not reach stays.
                dropped = smallest(weight.detach().abs(), keep, count)
                grown = largest(weight.grad.abs(), ~keep | dropped, count)
                rewire_(loop, name, dropped=dropped, grown=grown)
        loop.optimizer.zero_grad(set_to_none=True)


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train once by RigL, from a random mask with Erdos-Renyi-Kernel densities."""
    mask = random_mask(model, context, erk)
    return train(model, budget, mask, RigL(context.settings), per_layer=True)


METHOD = TrainingMethod(
    "rigl",
    search,
    kind="dynamic",
    paper="Evci et al., ICML",
    year=2020,
    cost="1 training",
    settings=Settings,
)
