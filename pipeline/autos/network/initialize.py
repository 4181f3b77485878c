"""The initialisation at which networks are pruned (AutoS paper, appendix C)."""

import torch
from torch import nn

LAYOUT = "autos_memory_format"
"""Attribute of a network that has the memory format in which it is trained."""

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Layers whose weights are drawn at random."""

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
"""Layers that start as the identity."""


def initialize(model: nn.Module, seed: int) -> nn.Module:
    """Reset a network on the CPU in place and return it; global random state is not touched.

    Weights of linear and convolution layers are drawn, in the order of `named_modules`, from
    N(0, 2 / fan_in) (He et al., ICCV 2015, eq. 10); their biases are 0. Batch normalisation
    starts as the identity: scale 1, shift 0, running mean 0, running variance 1. Such a network is
    trained in channels-last format, the fastest for small convolutions; all others keep their own.
    """
    generator = torch.Generator().manual_seed(seed)
    for _, module in model.named_modules():
        if isinstance(module, LAYERS):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, NORMS):
            module.reset_parameters()
    setattr(model, LAYOUT, torch.channels_last)
    return model
