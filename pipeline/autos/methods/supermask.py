"""Supermask (Zhou et al., NeurIPS 2019): train the probability to keep each weight.

A mask is drawn for each step from Bernoulli(sigmoid(v)), and its gradient passes to the sigmoid:
dL/dv = dL/dm * sigmoid(v) * (1 - sigmoid(v)). v starts at 0, where half of the weights are kept.
Two settings change the n weights of a layer. With `signed_constant` they become their standard
deviation with their signs. With `dynamic_scaling` they are scaled by n / sum(m), as if the mask did
not thin them out; the derivative has that factor, too.

The paper has no target density, and its accuracies are means over masks drawn anew. Here the mask
keeps the round(d * n) weights with the highest v, of the n in the whole network, and weights are
handed on as they were searched with, scaled for that mask if scaling is on. The further d is from
the share that the search itself settled on, the less the untrained network can do, all the more
with BatchNorm, which the paper does not use: its statistics are those of the masks that were drawn.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods._scores import Scored, ScoreTraining, Search
from autos.methods.base import Context, Found, TrainingMethod
from autos.network.prunable import prunable
from autos.training.budget import Budget
from autos.training.callbacks import Loop


class Settings(ScoreTraining):
    """Settings of supermasks."""

    lr: float = Field(default=100.0, gt=0)
    schedule: Literal["cosine", "constant"] = "constant"

    signed_constant: bool = False
    """Whether all weights of a layer have the same size."""

    dynamic_scaling: bool = False
    """Whether weights grow as the mask thins them out."""


class Scaled(Scored):
    """Parametrization of a weight by its scores, with the mask times n / sum(m)."""

    def mask(self) -> Tensor:
        mask = super().mask()
        return mask * (mask.numel() / mask.sum().clamp(min=1))


class Supermask(Search):
    """Trains v, the log-odds of keeping each weight, and draws a mask for every step."""

    def __init__(self, model: nn.Module, context: Context[Settings]) -> None:
        kind = Scaled if context.settings.dynamic_scaling else Scored
        super().__init__(
            {
                name: kind(torch.zeros_like(weight), soft=torch.sigmoid)
                for name, weight in prunable(model).items()
            }
        )
        self.generator = context.generator

    def choose(self, loop: Loop) -> dict[str, Tensor]:
        return {
            # It draws from Bernoulli; torch.bernoulli fails on NaN before the training says why.
            name: torch.rand(part.shape, generator=self.generator) < part.sigmoid().cpu()
            for name, part in self.scores.items()
        }


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train the probability to keep each weight, and keep the most probable ones."""
    if context.settings.signed_constant:
        with torch.no_grad():
            for weight in prunable(model).values():
                weight.copy_(weight.sign() * weight.std(correction=0))
    supermask = Supermask(model, context)
    supermask.train(model, budget, context.settings)
    mask = keep_top(supermask.scores, context.density, within=Mask.dense(model))
    if context.settings.dynamic_scaling:
        weights = prunable(model)
        with torch.no_grad():
            for name, density in mask.layer_densities().items():
                weights[name].div_(density or 1.0)
    return Found(mask, model.state_dict())


METHOD = TrainingMethod(
    "supermask",
    search,
    kind="search",
    paper="Zhou et al., NeurIPS",
    year=2019,
    cost="1 training of scores",
    settings=Settings,
)
