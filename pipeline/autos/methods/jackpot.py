"""Lottery jackpots (Zhang et al., arXiv 2021): a mask over trained weights, found by edge-popup.

The method is for weights that are trained already. They stay as they are, and so do biases and
BatchNorm's parameters, while its running statistics follow the masked network. Nothing is left to
train. Each layer keeps the weights with its highest scores (eq. 5), and the gradient passes to the
scores as if the mask were they (eq. 6). How many weights each layer keeps is fixed from the start:
as many as it has among the largest |w| of the network. In the warm start (section 4.1) these
weights have the score 1 and the others 0.95 (0.99 in the authors' code), so that the search begins
with the magnitude mask; otherwise scores start at U[0, 1).

The last layer stays dense, as in the authors' code, which does not count it. Here it counts, and
is pruned like the others if they would keep fewer weights than it has. The code also swaps weights
only where equally many want in and out, and ever fewer of them for ImageNet; the paper does not.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods._scores import Scored, ScoreTraining, Search, top_of_layers, uniform_like
from autos.methods.base import Context, Found, TrainingMethod
from autos.network.prunable import prunable
from autos.training.budget import Budget
from autos.training.callbacks import Loop

PRUNED = 0.95
"""Score of a pruned weight in the warm start."""


class Settings(ScoreTraining):
    """Settings of lottery jackpots."""

    weight_decay: float = Field(default=5e-4, ge=0)
    """Weight decay of the scores."""

    warm_start: Literal["magnitude", "random"] = "magnitude"
    """What the scores start from: the magnitude mask, or random values."""


class Jackpot(Search):
    """Trains scores, and keeps a fixed number of the highest ones in every layer."""

    def __init__(self, model: nn.Module, context: Context[Settings]) -> None:
        magnitude = magnitude_mask(model, context.density)
        self.counts = {name: int(keep.sum()) for name, keep in magnitude.keep.items()}
        scored = {}
        for name, weight in prunable(model).items():
            if context.settings.warm_start == "magnitude":
                kept = magnitude.keep[name].to(weight.device)
                scores = torch.where(kept, torch.ones_like(weight), PRUNED)
            else:
                scores = uniform_like(weight, 0, 1, context.generator)
            scored[name] = Scored(scores)
        super().__init__(scored)

    def choose(self, loop: Loop) -> dict[str, Tensor]:
        return top_of_layers(self.scores, self.counts)


def magnitude_mask(model: nn.Module, density: float) -> Mask:
    """Return the mask that keeps the largest |w| of the network.

    The last layer is kept whole if the others then keep at least as many weights as it has.

    Raises:
        UserError: The density keeps no weight.
    """
    dense = Mask.dense(model)
    scores = {name: weight.detach().abs() for name, weight in prunable(model).items()}
    last = list(scores)[-1]
    if round(density * dense.total) >= 2 * scores[last].numel():
        scores[last] = torch.full_like(scores[last], torch.inf)
    return keep_top(scores, density, within=dense)


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Search for a mask over the weights as they are, and set the pruned ones to 0."""
    jackpot = Jackpot(model, context)
    jackpot.train(model, budget, context.settings)
    jackpot.mask.apply_(model)
    return Found(jackpot.mask, model.state_dict(), trained=True)


METHOD = TrainingMethod(
    "jackpot",
    search,
    kind="search",
    paper="Zhang et al., arXiv",
    year=2021,
    cost="1 training of scores",
    settings=Settings,
)
