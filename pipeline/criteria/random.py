"""Random pruning: every weight is equally likely to stay."""

import torch
from torch import nn

from pipeline.criterion import Criterion
from pipeline.method import Context
from pipeline.prunable import prunable
from pipeline.selection import Scores


def score(model: nn.Module, context: Context) -> Scores:
    return {
        name: torch.rand(weight.shape, generator=context.generator, dtype=torch.float64)
        for name, weight in prunable(model).items()
    }


CRITERION = Criterion(score, data="none", cost="none")
