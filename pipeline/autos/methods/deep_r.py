"""Deep Rewiring (Bellec et al., ICLR 2018, Algorithm 1): replace weights that would change sign.

A weight is w = sign * theta with a fixed sign and is active while theta > 0. After every step of
the optimizer (in the paper, plain gradient descent) active weights also move by
-eta * alpha + sqrt(2 * eta * T) * nu, with the learning rate eta of that step and standard normal
nu. Weights with theta <= 0 become dormant, and as many dormant ones, chosen at random, become
active with theta = 1e-12. Momentum, should the recipe have it, is that of theta but for its sign.

The signs are those of the initialisation, for dormant weights too. The first mask is random with
the same density in every layer; the authors draw its positions with replacement and so begin with
fewer weights. Algorithm 1 keeps the number of active weights constant in the whole network, the
authors' code in each layer; `scope` chooses between them. The noise of the code is
1e-5 * eta * nu, which at eta = 0.5 is the noise of the default temperature. Weight decay of the
recipe adds to the penalty alpha on |w|.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.allocation import uniform
from autos.methods._rewiring import pick, random_mask, rewire_, train
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop

REBORN = 1e-12
"""Theta of a connection that becomes active."""


class Settings(Config):
    """Settings of Deep Rewiring."""

    alpha: float = Field(default=1e-5, ge=0)
    """Factor of the L1 penalty."""

    temperature: float = Field(default=2.5e-11, ge=0)
    """Temperature T of the noise."""

    scope: Literal["layer", "network"] = "layer"
    """Part of the network in which the number of active weights stays the same."""


class DeepR(Callback):
    """Moves active weights at random after every step, and replaces those that cross zero."""

    def __init__(self, settings: Settings, generator: torch.Generator) -> None:
        self.settings = settings
        self.generator = generator

    @torch.no_grad()
    def on_start(self, loop: Loop) -> None:
        self.sign = {name: torch.where(w < 0, -1, 1).to(w) for name, w in loop.weights.items()}
        names = list(loop.weights)
        self.groups = [[name] for name in names] if self.settings.scope == "layer" else [names]

    def before_step(self, loop: Loop) -> None:
        self.lr = loop.optimizer.param_groups[0]["lr"]  # After the step it is the next one's.

    @torch.no_grad()
    def after_step(self, loop: Loop) -> None:
        for group in self.groups:
            dropped = {name: self._walk(loop, name) for name in group}
            count = sum(int(places.count_nonzero()) for places in dropped.values())
            if not count:
                continue
            dormant = [((loop.keep[name] == 0) | dropped[name]).flatten() for name in group]
            grown = pick(torch.cat(dormant), count, self.generator)
            for name, part in zip(group, grown.split([len(d) for d in dormant]), strict=True):
                places = part.view(loop.weights[name].shape)
                rewire_(loop, name, dropped=dropped[name], grown=places)
                loop.weights[name][places] = REBORN * self.sign[name][places]

    def _walk(self, loop: Loop, name: str) -> Tensor:
        """Apply penalty and noise to the active weights, and mark those that cross zero."""
        active, sign = loop.keep[name].bool(), self.sign[name]
        theta = (loop.weights[name] * sign)[active]
        noise = torch.randn(theta.shape, generator=self.generator, dtype=theta.dtype).to(theta)
        theta += math.sqrt(2 * self.lr * self.settings.temperature) * noise
        theta -= self.lr * self.settings.alpha
        loop.weights[name][active] = theta * sign[active]
        return torch.zeros_like(active).masked_scatter_(active, theta <= 0)


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train once by Deep Rewiring, from a random mask with the same density in every layer."""
    mask = random_mask(model, context, uniform)
    rewiring = DeepR(context.settings, context.generator)
    per_layer = context.settings.scope == "layer"
    return train(model, budget, mask, rewiring, per_layer=per_layer)


METHOD = TrainingMethod(
    "deep_r",
    search,
    kind="dynamic",
    paper="Bellec et al., ICLR",
    year=2018,
    cost="1 training",
    settings=Settings,
)
