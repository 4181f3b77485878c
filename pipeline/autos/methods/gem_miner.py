"""Gem-Miner (Sreenivasan et al., NeurIPS 2022, Algorithm 1): mine a mask that can be fine-tuned.

Scores p in [0, 1] start uniform; the mask is r(p) * q, where r rounds (p >= 1/2) and q marks the
weights that are not frozen. The loss has a penalty lambda * ||p||^2, its gradient passes r as if it
were the identity, and p is projected to [0, 1] after each step. Again and again the weights of the
lowest scores, over all layers, are frozen: q = 0 for good. Weights are constants of size
sqrt(2 / fan_in) with the signs of the initialisation, and BatchNorm has no parameters; fine-tuning
starts from those constants.

Algorithm 1 as printed prunes the fraction 1 - exp(-cj) of what is left in epoch j, which compounds
to nearly nothing; its text means exp(-cj) of all weights, the density d^(j / E). As in the authors'
code every freeze leaves the same share, and the last one comes a period before the end, so that the
final q is trained with: 29 freezes are one every 5 of 150 epochs. Ties, by which the code freezes
too many weights, do no harm here: counts are exact.

The mask handed on is r(p) * q in the paper, which can be sparser than asked for, and q in the code.
Here the mask has the exact count: the highest scores of what is not frozen, which is q. With a
large lambda some of these weights may have been rounded off in the search.
"""

from pydantic import Field
from torch import Tensor, nn

from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods._scores import (
    Scored,
    ScoreTraining,
    Search,
    decaying,
    plain_batch_norm_,
    signed_constant_,
    uniform_like,
)
from autos.methods.base import Context, Found, TrainingMethod
from autos.network.prunable import prunable
from autos.training.budget import Budget
from autos.training.callbacks import Loop


class Settings(ScoreTraining):
    """Settings of Gem-Miner."""

    freezes: int = Field(default=29, gt=0, le=10_000)
    """Number of freezes, which are evenly spaced."""

    regularization: float = Field(default=1e-4, ge=0)
    """Factor lambda of the penalty; if too large, it empties layers.

    The default is the authors' for ResNet-20 at 1.44 % of the weights.
    """


class GemMiner(Search):
    """Trains scores, and freezes the weights of the lowest scores again and again."""

    def __init__(self, model: nn.Module, context: Context[Settings]) -> None:
        scored = {
            name: Scored(uniform_like(weight, 0, 1, context.generator))
            for name, weight in prunable(model).items()
        }
        super().__init__(scored, context.settings.regularization)
        self.density = context.density
        self.freezes = context.settings.freezes
        self.active = Mask.dense(model)  # This is q of the paper.

    def choose(self, loop: Loop) -> dict[str, Tensor]:
        scores = self.scores
        for part in scores.values():
            part.clamp_(0, 1)
        density = decaying(self.density, self.freezes, loop)
        if round(density * self.active.total) < self.active.kept:
            self.active = keep_top(scores, density, within=self.active)
        return {
            name: (part >= 0.5) & self.active.keep[name].to(part.device)
            for name, part in scores.items()
        }


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Mine a mask over weights of constant size by training their scores."""
    signed_constant_(model)
    plain_batch_norm_(model)
    miner = GemMiner(model, context)
    miner.train(model, budget, context.settings)
    return Found(miner.active, model.state_dict())


METHOD = TrainingMethod(
    "gem_miner",
    search,
    kind="search",
    paper="Sreenivasan et al., NeurIPS",
    year=2022,
    cost="1 training of scores",
    settings=Settings,
)
