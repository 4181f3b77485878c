"""What a criterion is: a score per weight, and how that score is to be asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from pipeline.batches import Batches, Loss, cross_entropy
from pipeline.selection import Scores


@dataclass(frozen=True)
class Context:
    """What a criterion may look at besides the model.

    Attributes:
        batches: what to score on, in the model's precision and on its device.
        density: the fraction of weights that the final mask keeps.
        generator: the only source of randomness, on the CPU.
        loss: of the model's output and a batch, the mean over its samples.
    """

    batches: Batches
    density: float
    generator: torch.Generator
    loss: Loss = cross_entropy


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
