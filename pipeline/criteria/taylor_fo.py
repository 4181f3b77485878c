"""Taylor-FO (Molchanov et al., CVPR 2019, eq. 8): (w * dL/dw)^2, averaged over the batches.

As by the authors, each batch is squared before the average; of the squared average, or of a single
batch, the order is that of SNIP. So this one criterion depends on how samples are batched.
"""

import torch
from torch import nn

from pipeline.batches import size
from pipeline.criterion import Criterion
from pipeline.gradients import mean_gradient
from pipeline.method import Context
from pipeline.prunable import prunable
from pipeline.selection import Scores


def score(model: nn.Module, context: Context) -> Scores:
    weights = prunable(model)
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    samples = 0
    for batch in context.batches:
        gradient = mean_gradient(model, [batch], context.loss)
        for name, weight in weights.items():
            sums[name] += size(batch) * (gradient[name] * weight.detach()).square_()
        samples += size(batch)
    return {name: total.div_(samples) for name, total in sums.items()}


CRITERION = Criterion(score, paper="Molchanov et al., CVPR", year=2019, cost="1 gradient")
