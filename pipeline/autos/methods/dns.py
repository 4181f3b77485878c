"""DNS, dynamic network surgery (Guo et al., NeurIPS 2016, eq. 2-3): prune, and undo wrong pruning.

The forward pass sees the masked weights; its gradient, which masked places have as well, moves the
dense weights, of which a copy is kept. With a threshold t per layer a weight is pruned when
|w| <= 0.9 * t, is spliced (comes back) when |w| > 1.1 * t, and in between stays what it is. The
threshold is t = max(mu + c * sigma, 0), with the mean mu and the standard deviation sigma of |w|
that the layer had before the first step. The mask is renewed before the forward pass of step k with
probability (1 + gamma * k) ** -power, up to the share `end` of the training (in the authors'
example, up to step 14,000).

The authors choose c by hand, layer by layer, and take the density that comes out. Here one c serves
all layers and is solved for at every renewal, so that round(density * n) of the n weights are above
their thresholds. The mask then keeps that many weights, up to those within the bands. At `end` it
becomes exactly the weights above their thresholds, and the rest of the training is theirs alone.
Nothing is reset, as no weight ever stops being trained before that. The method was meant for
trained networks: from random weights the first masks are little better than magnitude pruning at
initialisation.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.mask import Mask
from autos.masks.selection import keep_top, kept_by
from autos.methods._rewiring import found
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop


class Settings(Config):
    """Settings of dynamic network surgery."""

    band: float = Field(default=0.1, ge=0, lt=1)
    """Half the width of the band around a threshold, in units of the threshold."""

    gamma: float = Field(default=1e-4, ge=0)
    """Rate, per step, at which the probability of a renewal falls."""

    power: float = Field(default=1.0, ge=0)
    """Exponent with which the probability of a renewal falls."""

    end: float = Field(default=0.75, gt=0, le=1)
    """Share of the training after which the mask rests."""


class DNS(Callback):
    """Renews the mask at random steps and trains the dense weights, until the mask rests."""

    def __init__(self, settings: Settings, density: float, generator: torch.Generator) -> None:
        self.settings = settings
        self.density = density
        self.generator = generator

    @torch.no_grad()
    def on_start(self, loop: Loop) -> None:
        self.stop = max(1, round(self.settings.end * loop.steps))
        self.keep = loop.keep
        self.dense = {name: weight.clone() for name, weight in loop.weights.items()}
        sizes = {name: weight.abs() for name, weight in loop.weights.items()}
        self.mean = {name: size.mean() for name, size in sizes.items()}
        self.std = {
            name: size.std(correction=0).clamp(min=torch.finfo(size.dtype).eps)
            for name, size in sizes.items()
        }
        self._renew(loop)

    @torch.no_grad()
    def before_step(self, loop: Loop) -> None:
        """Put the dense weights back, so that the masked weights' gradient moves them."""
        if loop.step < self.stop:
            for name, weight in loop.weights.items():
                weight.copy_(self.dense[name])

    @torch.no_grad()
    def after_step(self, loop: Loop) -> None:
        if loop.step > self.stop:
            return
        if loop.step == self.stop:
            mask = keep_top(self._deviations(loop), self.density, within=Mask.dense(loop.model))
            for name, keep in mask.keep.items():
                loop.keep[name].copy_(keep)
            return
        for name, weight in loop.weights.items():
            self.dense[name].copy_(weight)
        probability = (1 + self.settings.gamma * loop.step) ** -self.settings.power
        if float(torch.rand((), generator=self.generator)) < probability:
            self._renew(loop)

    def _deviations(self, loop: Loop) -> dict[str, Tensor]:
        """Return (|w| - mu) / sigma; a weight is above its threshold where this is above c."""
        return {
            name: (weight.abs() - self.mean[name]) / self.std[name]
            for name, weight in loop.weights.items()
        }

    def _renew(self, loop: Loop) -> None:
        every = torch.cat([part.flatten() for part in self._deviations(loop).values()])
        rest = len(every) - kept_by(self.density, len(every), len(every))
        c = every.kthvalue(rest).values if rest else every.new_tensor(-torch.inf)
        for name, weight in loop.weights.items():
            size, keep = weight.abs(), loop.keep[name]
            threshold = (self.mean[name] + c * self.std[name]).clamp(min=0)
            keep.masked_fill_(size <= (1 - self.settings.band) * threshold, 0)
            keep.masked_fill_(size > (1 + self.settings.band) * threshold, 1)


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train once by dynamic network surgery, from the dense network."""
    surgery = DNS(context.settings, context.density, context.generator)
    budget.train(model, mask=Mask.dense(model), callbacks=[surgery])
    return found(model, surgery.keep)


METHOD = TrainingMethod(
    "dns",
    search,
    kind="dynamic",
    paper="Guo et al., NeurIPS",
    year=2016,
    cost="1 training",
    settings=Settings,
)
