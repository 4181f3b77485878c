"""Gem-Miner (Sreenivasan et al., NeurIPS 2022, Algorithm 1): mine a mask that can be fine-tuned.

Scores p in [0, 1] start uniform; the mask is r(p) * q, where r rounds (p >= 1/2) and q marks the
weights that are not frozen. The loss has a penalty lambda * ||p||^2, its gradient passes r as if it
were the identity, and p is projected to [0, 1] after each step. Again and again those of the lowest
scores, over all layers, are frozen: q = 0 for good. Weights are constants of size sqrt(2 / fan_in)
with the signs of the initialisation, BatchNorm has no parameters; fine-tuning starts from those
constants.

Algorithm 1 as printed prunes the fraction 1 - exp(-cj) of what is left in epoch j, which compounds
to nearly nothing; its text means exp(-cj) of all weights, the density d^(j / E). As in the authors'
code every freeze leaves the same share, and the last one comes a period before the end, so that the
final q is trained with: 29 freezes are one every 5 of 150 epochs. The code's ties, which freeze too
many, cannot happen: counts are exact.

The mask handed on is r(p) * q in the paper, which can be sparser than asked for, and q in the code.
Here it has the exact count: the highest scores of what is not frozen, which is q. With a large
lambda some of these weights may have been rounded off in the search.
"""

from pydantic import Field
from torch import Tensor, nn

from pipeline.budget import Budget
from pipeline.callbacks import Loop
from pipeline.masks import Mask
from pipeline.method import Context, Found, TrainingMethod
from pipeline.methods._scores import (
    Scored,
    ScoreTraining,
    Search,
    decaying,
    plain_batch_norm_,
    signed_constant_,
    uniform_like,
)
from pipeline.prunable import prunable
from pipeline.selection import keep_top


class Settings(ScoreTraining):
    freezes: int = Field(default=29, gt=0)
    """Evenly spaced."""

    regularization: float = Field(default=1e-4, ge=0)
    """lambda: the authors' for ResNet-20 at 1.44 % of the weights; too large, it empties layers."""


class GemMiner(Search):
    def __init__(self, model: nn.Module, context: Context) -> None:
        scored = {
            name: Scored(uniform_like(weight, 0, 1, context.generator))
            for name, weight in prunable(model).items()
        }
        super().__init__(scored, context.settings.regularization)
        self.density = context.density
        self.freezes = context.settings.freezes
        self.active = Mask.dense(model)  # q of the paper

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


def search(model: nn.Module, context: Context, budget: Budget) -> Found:
    signed_constant_(model)
    plain_batch_norm_(model)
    miner = GemMiner(model, context)
    miner.train(model, budget, context.settings)
    return Found(miner.active, model.state_dict())


METHOD = TrainingMethod(
    search,
    kind="search",
    paper="Sreenivasan et al., NeurIPS",
    year=2022,
    cost="1 training of scores",
    settings=Settings,
)
