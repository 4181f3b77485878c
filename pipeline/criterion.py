"""What a criterion is: a score per weight, and how that score is to be asked for."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.masks import Scores

Batches = Iterable[tuple[Tensor, Tensor]]
"""Inputs and labels; it is read from the start each time."""


@dataclass(frozen=True)
class Context:
    """What a criterion may look at besides the model.

    Attributes:
        batches: inputs [n, ...] and class labels [n] to score on.
        density: the fraction of weights that the final mask keeps.
        generator: the only source of randomness.
    """

    batches: Batches
    density: float
    generator: torch.Generator


Score = Callable[[nn.Module, Context], Scores]
"""Gets a copy of the model that it may change, with the pruned weights already zero."""


@dataclass(frozen=True)
class Criterion:
    """A score and the way it is meant to be used.

    Attributes:
        score: function of the model and the context.
        rounds: prune in this many steps, scoring anew after each.
        double: score a copy in float64.
        batch_norm: "train" scores with batch statistics, "eval" with the running ones, None
            leaves that to the caller.
    """

    score: Score
    rounds: int = 1
    double: bool = False
    batch_norm: Literal["train", "eval"] | None = None
