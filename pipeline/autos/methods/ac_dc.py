"""AC/DC (Peste et al., NeurIPS 2021, Algorithm 1): sparse and dense phases in turns.

After a dense warm-up, the largest |w| of the whole network are kept, and they alone are trained for
a phase. In the next one all weights are trained again, the pruned ones from 0 on and without any
momentum. Then the mask is made anew, and so on; the last phase is sparse and lasts to the end.

The authors train for 100 epochs, with a warm-up of 10 and phases of 5; here these are shares of the
training.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods._rewiring import found, rewire_
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop


class Settings(Config):
    """Settings of AC/DC."""

    warm_up: float = Field(default=0.1, gt=0, lt=1)
    """Share of the training before the first sparse phase."""

    phase: float = Field(default=0.05, gt=0, le=1)
    """Share of the training that a phase takes, sparse or dense; at least one step."""


class Phases(Callback):
    """Prunes to the density, and makes the network dense again, in turns.

    Attributes:
        keep: Mask at present, by name, as of the loop.
    """

    keep: dict[str, Tensor]

    def __init__(self, settings: Settings, density: float) -> None:
        self.settings = settings
        self.density = density
        self.dense = True

    def on_start(self, loop: Loop) -> None:
        self.keep = loop.keep

    @torch.no_grad()
    def after_step(self, loop: Loop) -> None:
        length = max(1, round(self.settings.phase * loop.steps))
        phase, begun = divmod(loop.step - max(1, round(self.settings.warm_up * loop.steps)), length)
        if phase < 0 or begun:
            return
        if self.dense:
            sizes = {name: weight.abs() for name, weight in loop.weights.items()}
            mask = keep_top(sizes, self.density, within=Mask.dense(loop.model))
            for name, keep in mask.keep.items():
                loop.keep[name].copy_(keep)
            self.dense = False
        elif loop.step + length < loop.steps:  # Otherwise no sparse phase would follow.
            for name, keep in loop.keep.items():
                pruned = keep == 0
                rewire_(loop, name, dropped=torch.zeros_like(pruned), grown=pruned)
            self.dense = True


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train once by sparse and dense phases."""
    phases = Phases(context.settings, context.density)
    budget.train(model, mask=Mask.dense(model), callbacks=[phases])
    return found(model, phases.keep)


METHOD = TrainingMethod(
    "ac_dc",
    search,
    kind="dynamic",
    paper="Peste et al., NeurIPS",
    year=2021,
    cost="1 training",
    settings=Settings,
)
