"""PLATON (Zhang et al., ICML 2022, eqs. 5 to 9): prune by importance and by its uncertainty.

I = |w * dL/dw| is averaged over `period` steps (the paper's local window), and enters two moving
averages: I_bar = beta1 * I_bar + (1 - beta1) * I, and U_bar = beta2 * U_bar + (1 - beta2) * U of
the deviations U = |I - I_bar|. Neither is corrected for its start at 0. The score is
I_bar * U_bar; densities fall by the cubic schedule.

A pruned weight has the importance 0, but its averages fade slowly: until the last cut it may come
back, as in the paper, from 0. Masks are therefore not nested. I is taken before the step, so that
weight and gradient belong together; the authors' code multiplies the gradient with the weight after
the step, and masks weights only now and then. Beginning, end and constants are those of the
authors' MNLI run, of 98,176 steps (their command line sets beta2 to 0 by default). The optimizer is
the recipe's; theirs is Adamax.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods import _gradual
from autos.methods.base import Context, Found, TrainingMethod
from autos.training.budget import Budget
from autos.training.callbacks import Loop

Beta = Annotated[float, Field(ge=0, lt=1)]


class Settings(_gradual.Settings):
    """Settings of PLATON."""

    period: _gradual.Period = 10
    begin: _gradual.Share = 0.055
    end: _gradual.Share = 0.725
    beta1: Beta = 0.85
    """Share of the past in the moving average of the importance."""
    beta2: Beta = 0.95
    """Share of the past in the moving average of the uncertainty."""


class Platon(_gradual.GradualPruning):
    """Keeps the weights with the highest scores, so that pruned weights may come back."""

    def __init__(self, model: nn.Module, context: Context[Settings], budget: Budget) -> None:
        settings = context.settings
        super().__init__(model, settings.cuts(context.density, budget))
        self.everything = self.mask
        self.window, self.end = min(settings.period, budget.steps_per_epoch), max(self.cuts)
        self.beta1, self.beta2 = settings.beta1, settings.beta2

    def on_start(self, loop: Loop) -> None:
        def zeros() -> dict[str, Tensor]:
            return {name: torch.zeros_like(weight) for name, weight in loop.weights.items()}

        self.sums, self.importance, self.uncertainty = zeros(), zeros(), zeros()
        self.summed = 0

    @torch.no_grad()
    def before_step(self, loop: Loop) -> None:
        for name, weight in loop.weights.items():
            if weight.grad is not None:
                self.sums[name] += (weight * weight.grad).abs()
        self.summed += 1
        if (self.end - loop.step - 1) % self.window == 0:  # A cut after this step uses it.
            for name, total in self.sums.items():
                self.average(name, total / self.summed)
                total.zero_()
            self.summed = 0

    def average(self, name: str, importance: Tensor) -> None:
        """Let the importance of a layer, averaged over a window, enter the moving averages."""
        mean = self.importance[name].lerp_(importance, 1 - self.beta1)
        deviation = (importance - mean).abs()
        self.uncertainty[name].lerp_(deviation, 1 - self.beta2)

    def cut(self, weights: dict[str, Tensor], density: float) -> Mask:
        scores = {name: self.importance[name] * self.uncertainty[name] for name in weights}
        return keep_top(scores, density, within=self.everything)


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Find a mask by gradual pruning with scores of importance and uncertainty."""
    pruning = Platon(model, context, budget)
    return _gradual.prune_gradually(model, budget, pruning, rewind=context.settings.rewind)


METHOD = TrainingMethod(
    "platon",
    search,
    paper="Zhang et al., ICML",
    year=2022,
    cost="3/4 of a training",
    settings=Settings,
)
