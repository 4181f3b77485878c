"""SynFlow (Tanaka et al., NeurIPS 2020, eq. 4): w * dR/dw with R = 1' |W_L| ... |W_1| 1.

Needs no data, only the shape of an input. Meant for 100 rounds with exponentially falling density
and float64: in float32 R overflows in deep networks.
"""

import torch
from torch import nn

from pipeline.criterion import Context, Criterion
from pipeline.masks import Scores, prunable


def score(model: nn.Module, context: Context) -> Scores:
    inputs, _ = next(iter(context.batches))
    weights = prunable(model)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.abs_()
    flow = model(torch.ones_like(inputs[:1], dtype=next(iter(weights.values())).dtype)).sum()
    gradients = torch.autograd.grad(flow, list(weights.values()))
    return {name: (w * g).detach() for (name, w), g in zip(weights.items(), gradients, strict=True)}


CRITERION = Criterion(score, rounds=100, double=True, batch_norm="eval")
