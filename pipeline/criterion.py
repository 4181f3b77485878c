"""What a criterion is: a score per weight, and how that score is to be asked for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import nn

from pipeline.batches import Batches, Loss, Prepared
from pipeline.masks import Mask
from pipeline.method import Context, Found, Method
from pipeline.prunable import prunable
from pipeline.schedules import exponential
from pipeline.selection import Scores, keep_top
from pipeline.working_copy import random_state, rewind_, working_copy

Score = Callable[[nn.Module, Context], Scores]
"""Gets a copy of the model that it may change, with the pruned weights already zero."""


def one_round(density: float, settings: Any) -> list[float]:
    """Everything goes at once."""
    return [density]


@dataclass(frozen=True)
class Criterion(Method):
    """A score and the way it is meant to be used: the weights with the lowest ones are pruned.

    Attributes:
        score: function of the model and the context.
        densities: from the final density and the settings to the density after each round;
            weights are scored anew in each, on what the one before has left.
        double: score a copy in float64.
        batch_norm: "train" scores with batch statistics, "eval" with the running ones, None
            leaves that to the caller.
    """

    score: Score
    densities: Callable[[float, Any], list[float]] = one_round
    double: bool = False
    batch_norm: Literal["train", "eval"] | None = None

    @property
    def function(self) -> Callable[..., Any]:
        return self.score

    def find(self, model: nn.Module, context: Context) -> Found:
        scored = working_copy(model, double=self.double)
        if self.batch_norm is not None:
            scored.train(self.batch_norm == "train")
        weight = next(iter(prunable(scored).values()))
        prepared = Prepared(context.batches, device=weight.device, dtype=weight.dtype)
        context = replace(context, batches=prepared)
        mask = Mask.dense(model)
        for index, target in enumerate(self.densities(context.density, context.settings)):
            if index:
                rewind_(scored, model)
                mask.apply_(scored)
            with random_state(context.seed), torch.autocast(weight.device.type, enabled=False):
                # Within: scores may be computed only when they are read.
                mask = keep_top(self.score(scored, context), target, within=mask)
        return Found(mask)


class Predicts(Protocol):
    """A trained predictor.

    Attributes:
        rounds: in which it wants to prune, with exponentially falling density.
    """

    rounds: int

    def survival(self, model: nn.Module, batches: Batches, loss: Loss) -> Scores: ...


def predicted(predictor: Predicts) -> Criterion:
    """The criterion by which a predictor prunes."""

    def score(model: nn.Module, context: Context) -> Scores:
        return predictor.survival(model, context.batches, context.loss)

    return Criterion(
        score, densities=lambda density, settings: exponential(density, predictor.rounds)
    )
