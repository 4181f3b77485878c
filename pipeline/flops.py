"""Floating-point operations of one forward pass, dense and as sparse as the mask."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.masks import Mask


def forward_flops(model: nn.Module, image: torch.Tensor, mask: Mask) -> tuple[int, int]:
    """Operations that the prunable layers need for one image [1, channels, height, width].

    A multiply-add counts as two operations. The sparse count is each layer's dense count times
    its density: what a kernel that skips every zero would do.

    Returns:
        Sparse and dense count.
    """
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    model.train(training)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    sparse = dense = 0.0
    for name, density in mask.layer_densities().items():
        layer = f"{root}.{name.removesuffix('.weight')}" if name != "weight" else root
        operations = sum(counts[layer].values())
        dense += operations
        sparse += operations * density
    return round(sparse), round(dense)
