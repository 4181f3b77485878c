"""SET, sparse evolutionary training (Mocanu et al., Nature Communications 2018, Algorithm 1).

Training starts from a random mask with Erdos-Renyi densities. After every epoch each layer drops
the share `zeta` of its positive weights, those nearest 0, and the same share of its negative ones,
and grows as many at random, the places of those just dropped included. After the last epoch the
paper drops without growing; here nothing is dropped then, so that the density is the one asked for.

The paper gives the scale epsilon of the densities; here it follows from the density. A grown weight
gets a random value of its layer's initialisation: one of the values that the layer began with,
those of pruned weights included. The mask changes after the optimizer's step.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.allocation import er
from autos.methods._rewiring import ends_epoch, pick, random_mask, rewire_, smallest, train
from autos.methods.base import Context, Found, TrainingMethod
from autos.network.prunable import prunable
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop


class Settings(Config):
    """Settings of sparse evolutionary training."""

    zeta: float = Field(default=0.3, gt=0, le=1)
    """Share of a layer's weights that is dropped after every epoch."""


class SET(Callback):
    """Replaces the weights nearest 0 by others at random places, after every epoch."""

    def __init__(
        self, settings: Settings, initial: dict[str, Tensor], generator: torch.Generator
    ) -> None:
        """Prepare the updates.

        Args:
            settings: How much to replace.
            initial: Values [n] that the grown weights of each layer are drawn from, by name.
            generator: Source of randomness, on the CPU.
        """
        self.settings = settings
        self.initial = initial
        self.generator = generator

    @torch.no_grad()
    def after_step(self, loop: Loop) -> None:
        if not ends_epoch(loop):
            return
        for name, weight in loop.weights.items():
            keep = loop.keep[name].bool()
            dropped = torch.zeros_like(keep)
            for side in (keep & (weight >= 0), keep & (weight < 0)):
                count = round(self.settings.zeta * int(side.count_nonzero()))
                dropped |= smallest(weight.abs(), side, count)
            count = int(dropped.count_nonzero())
            grown = pick(~keep | dropped, count, self.generator)
            rewire_(loop, name, dropped=dropped, grown=grown)
            values = self.initial[name]
            drawn = torch.randint(len(values), (count,), generator=self.generator)
            weight[grown] = values[drawn].to(weight)


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train once by sparse evolutionary training, from a random mask with Erdos-Renyi densities."""
    initial = {name: w.detach().flatten().clone() for name, w in prunable(model).items()}
    rewiring = SET(context.settings, initial, context.generator)
    return train(model, budget, random_mask(model, context, er), rewiring, per_layer=True)


METHOD = TrainingMethod(
    "set",
    search,
    kind="dynamic",
    paper="Mocanu et al., Nature Communications",
    year=2018,
    cost="1 training",
    settings=Settings,
)
