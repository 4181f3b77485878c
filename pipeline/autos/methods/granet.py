"""GraNet (Liu et al., NeurIPS 2021): gradual pruning from a half-sparse network, with regrowth.

Training starts from a random mask with Erdos-Renyi-Kernel densities, half of the weights in all.
Every `interval` steps, up to the share `end` of the training, the smallest |w| of the whole network
go, down to a density that falls along a cubic; then RigL's update follows: each layer drops a share
of its smallest |w| that falls along a cosine, and grows as many others by the largest |dL/dw|.

As in RigL, an update takes the place of the optimizer's step, and an update is due after each epoch
where an epoch is shorter than the interval. Interval and end are those of RigL here, since those of
the authors stand beside trainings of hundreds of epochs.
"""

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.masks.allocation import erk
from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods import rigl
from autos.methods._rewiring import due, found, random_mask
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop


class Settings(rigl.Settings):
    """Settings of GraNet: those of RigL, and the density at the beginning."""

    alpha: float = Field(default=0.5, gt=0, le=1)
    """Share of a layer's weights that is dropped and grown again at the beginning."""

    begin: float = Field(default=0.5, gt=0, le=1)
    """Density at the beginning, unless the final one is higher."""


class GraNet(Callback):
    """Prunes gradually, and replaces the smallest weights by those with the largest gradients.

    Attributes:
        keep: Mask at present, by name, as of the loop.
    """

    keep: dict[str, Tensor]

    def __init__(self, settings: Settings, density: float) -> None:
        self.settings = settings
        self.density = density
        self.regrowth = rigl.RigL(settings)

    def on_start(self, loop: Loop) -> None:
        self.keep = loop.keep
        self.begin = max(self.settings.begin, self.density)
        self.reached = self.begin == self.density

    def before_step(self, loop: Loop) -> None:
        if due(loop, self.settings.interval, self.settings.end):
            left = 1 - loop.step / (self.settings.end * loop.steps)
            self._prune(loop, self.density + (self.begin - self.density) * left**3)
            self.regrowth.before_step(loop)

    def after_step(self, loop: Loop) -> None:
        if not self.reached and loop.step >= self.settings.end * loop.steps:
            self._prune(loop, self.density)
            self.reached = True

    @torch.no_grad()
    def _prune(self, loop: Loop, density: float) -> None:
        """Keep the largest |w| of the weights that are left."""
        left = Mask({name: keep.bool() for name, keep in loop.keep.items()})
        sizes = {name: weight.abs() for name, weight in loop.weights.items()}
        for name, keep in keep_top(sizes, density, within=left).keep.items():
            loop.keep[name].copy_(keep)
            loop.weights[name].mul_(loop.keep[name])


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train once by GraNet, from a random mask with Erdos-Renyi-Kernel densities."""
    begin = replace(context, density=max(context.settings.begin, context.density))
    granet = GraNet(context.settings, context.density)
    budget.train(model, mask=random_mask(model, begin, erk), callbacks=[granet])
    return found(model, granet.keep)


METHOD = TrainingMethod(
    "granet",
    search,
    kind="dynamic",
    paper="Liu et al., NeurIPS",
    year=2021,
    cost="1 training",
    settings=Settings,
)
