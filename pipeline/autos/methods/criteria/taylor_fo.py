"""Taylor-FO (Molchanov et al., CVPR 2019, eq. 8): (w * dL/dw)^2, averaged over the batches.

As the authors do, each batch is squared before the average; the squared average, or a single batch,
gives the same order as SNIP. This criterion alone thus depends on how samples are batched.
"""

import torch
from torch import nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.batches import size
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score every weight by the mean of (w * dL/dw)^2 over the batches."""
    weights = prunable(model)
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    samples = 0
    for batch in context.batches:
        gradient = mean_gradient(model, [batch], context.loss)
        for name, weight in weights.items():
            sums[name] += size(batch) * (gradient[name] * weight.detach()).square_()
        samples += size(batch)
    return {name: total.div_(samples) for name, total in sums.items()}


CRITERION = Criterion(
    "taylor_fo", score, paper="Molchanov et al., CVPR", year=2019, cost="1 gradient"
)
