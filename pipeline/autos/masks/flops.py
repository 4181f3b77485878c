"""Floating-point operations of one forward pass, dense and as sparse as the mask."""

from collections import Counter

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autos.masks.mask import Mask
from autos.network.prunable import prunable


def forward_flops(model: nn.Module, image: torch.Tensor, mask: Mask) -> tuple[int, int]:
    """Count the operations that the prunable layers need for one image.

    A multiply-add counts as two operations. The sparse count is each layer's dense count times
    its density: what a kernel that skips every zero would do.

    Args:
        model: The network, which is left as it is.
        image: A batch of one image, [1, channels, height, width].
        mask: Mask of the network; layers that it does not name count as dense.

    Returns:
        Number of operations in the sparse and in the dense network.
    """
    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    model.train(training)
    counts = counter.get_flop_counts()
    root = type(model).__name__
    sparse = dense = 0.0
    layers: Counter[str] = Counter()
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    for name, size in sizes.items():
        layers[name.rpartition(".")[0]] += size
    for name, density in {**dict.fromkeys(sizes, 1.0), **mask.layer_densities()}.items():
        layer = name.rpartition(".")[0]
        # Torch calls attention as a whole and its last layer never, which then has no count.
        operations = sum(counts.get(f"{root}.{layer}" if layer else root, {}).values())
        operations = operations * sizes[name] / layers[layer]
        dense += operations
        sparse += operations * density
    return round(sparse), round(dense)
