"""Edge-popup (Ramanujan et al., CVPR 2020): train a score per weight, keep the highest |score|.

Forward, each layer keeps the weights with the k highest |s|; backward, the mask counts as |s|, so
that dL/ds = dL/dW * w * sign(s). Scores start at U(-1, 1) / sqrt(fan_in), weights are constants
with the signs of the initialisation, and BatchNorm has no parameters. Fine-tuning starts from those
constants.

They are scaled for the density, sqrt(2 / (fan_in * k)), as in the paper. The authors' code takes
fan_in * (1 - k) instead, which is right only for k = 1/2. Layers keep the same density as exactly
as whole weights allow: their counts sum up to that of the network, so that a layer may be left with
none where k * n is below one; the authors' code always keeps one.

The other settings are the variants of Rare Gems (Sreenivasan et al., NeurIPS 2022, Table 3): one
threshold for all layers, a density that falls step by step to the final one, and a penalty on the
squared scores. With the falling density pruned weights may still come back. The authors cut every
8 of 150 epochs, 18 times by the same share, and so do we relative to the search's length.
"""

import math
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from pipeline.allocation import uniform
from pipeline.budget import Budget
from pipeline.callbacks import Loop
from pipeline.masks import Mask
from pipeline.method import Context, Found, TrainingMethod
from pipeline.methods._scores import (
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
from pipeline.prunable import prunable
from pipeline.selection import keep_top

CUTS = 18


class Settings(ScoreTraining):
    weight_decay: float = Field(default=1e-4, ge=0)
    """Of the scores."""

    scope: Literal["layer", "global"] = "layer"
    """Where scores compete."""

    gradual: bool = False
    """Whether the density falls step by step."""

    regularization: float = Field(default=0.0, ge=0)
    """Weight of the sum of all squared scores in the loss."""


class EdgePopup(Search):
    def __init__(self, model: nn.Module, context: Context) -> None:
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


def search(model: nn.Module, context: Context, budget: Budget) -> Found:
    signed_constant_(model, context.density)
    plain_batch_norm_(model)
    popup = EdgePopup(model, context)
    popup.train(model, budget, context.settings)
    return Found(popup.mask, model.state_dict())


METHOD = TrainingMethod(
    search,
    kind="search",
    paper="Ramanujan et al., CVPR",
    year=2020,
    cost="1 training of scores",
    settings=Settings,
)
