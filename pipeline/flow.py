"""Synaptic flow (Tanaka et al., NeurIPS 2020, eq. 4): what passes through each weight.

R = 1' |W_L| ... |W_1| 1 is what a sample of ones becomes in a network of absolute values.
"""

import torch
from torch import nn

from pipeline.batches import Batch, logits, ones, run
from pipeline.cost import count
from pipeline.prunable import prunable
from pipeline.selection import Scores


def flow_(model: nn.Module, batch: Batch) -> Scores:
    """|w| * dR/d|w| of every prunable weight, which take the place of the model's weights.

    All parameters become their absolute values. Use float64: in float32 R overflows in deep
    networks.

    Args:
        batch: of the form that the model takes; its values do not matter.
    """
    weights = prunable(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    flow = logits(run(model, ones(batch))).sum()
    count(backward=1)
    gradients = torch.autograd.grad(flow, list(weights.values()), allow_unused=True)
    with torch.no_grad():  # in place: new memory would take more time than the product
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight.mul_(0 if gradient is None else gradient)
    return {name: weight.detach() for name, weight in weights.items()}
