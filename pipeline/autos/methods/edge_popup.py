"""Edge-popup (Ramanujan et al., CVPR 2020): train a score per weight, keep the highest |score|.

In the forward pass each layer keeps the share k of its weights with the highest |s|; in the
backward pass the mask counts as |s|, so that dL/ds = dL/dW * w * sign(s). Scores start at
U(-1, 1) / sqrt(fan_in), weights are constants with the signs of the initialisation, and BatchNorm
has no parameters. Fine-tuning starts from those constants.

The constants are scaled for the density, sqrt(2 / (fan_in * k)), as in the paper. The authors' code
takes fan_in * (1 - k) instead, which is right only for k = 1/2. Layers keep the same density as
exactly as whole weights allow: their counts sum up to that of the network, so that a layer of n
weights may be left with none where k * n is below one; the authors' code always keeps one.

The other settings are the variants of Rare Gems (Sreenivasan et al., NeurIPS 2022, Table 3): one
threshold for all layers, a density that falls step by step to the final one, and a penalty on the
squared scores. With the falling density pruned weights may still come back. The authors of Rare
Gems cut 18 times by the same share, once every 8 of 150 epochs; the cuts here are as many, in
proportion to the length of the search.
"""

import math
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from autos.masks.allocation import uniform
from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods._scores import (
    Scored,
    ScoreTraining,
    Search,
    decaying,
    fan_in,
    plain_batch_norm_,
    signed_constant_,
    top_of_layers,
    uniform_like,
)
from autos.methods.base import Context, Found, TrainingMethod
from autos.network.prunable import prunable
from autos.training.budget import Budget
from autos.training.callbacks import Loop

CUTS = 18
"""Number of cuts of a density that falls step by step."""


class Settings(ScoreTraining):
    """Settings of edge-popup."""

    weight_decay: float = Field(default=1e-4, ge=0)
    """Weight decay of the scores."""

    scope: Literal["layer", "global"] = "layer"
    """Part of the network in which scores compete."""

    gradual: bool = False
    """Whether the density falls step by step."""

    regularization: float = Field(default=0.0, ge=0)
    """Factor of the sum of all squared scores, which is added to the loss."""


class EdgePopup(Search):
    """Trains scores, and keeps the weights whose scores are the highest in magnitude."""

    def __init__(self, model: nn.Module, context: Context[Settings]) -> None:
        fans, weights = fan_in(model), prunable(model)
        scored = {}
        for name, weight in weights.items():
            bound = 1 / math.sqrt(fans[name])
            scores = uniform_like(weight, -bound, bound, context.generator)
            scored[name] = Scored(scores, soft=Tensor.abs)
        super().__init__(scored, context.settings.regularization)
        self.density = context.density
        self.settings = context.settings
        self.everything = Mask.dense(model)

    def choose(self, loop: Loop) -> dict[str, Tensor]:
        density = decaying(self.density, CUTS, loop) if self.settings.gradual else self.density
        scores = {name: part.abs() for name, part in self.scores.items()}
        if self.settings.scope == "global":
            return dict(keep_top(scores, density, within=self.everything).keep)
        shapes = self.everything.shapes
        return top_of_layers(scores, uniform(shapes, round(density * self.everything.total)))


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Search for a mask over weights of constant size by training their scores."""
    signed_constant_(model, context.density)
    plain_batch_norm_(model)
    popup = EdgePopup(model, context)
    popup.train(model, budget, context.settings)
    return Found(popup.mask, model.state_dict())


METHOD = TrainingMethod(
    "edge_popup",
    search,
    kind="search",
    paper="Ramanujan et al., CVPR",
    year=2020,
    cost="1 training of scores",
    settings=Settings,
)
