"""Weights, gradients and survival like those of real networks, and predictors that learned them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autos.predictors.backbones import BACKBONES


def draw(count: int, seed: int) -> Tensor:
    """Draw scaled weights and gradients [count, 2], normal with a width that varies by layer."""
    generator = torch.Generator().manual_seed(seed)
    normal, width = torch.randn(2, count, 2, generator=generator)
    return normal * (0.7 * width).exp()


def survival(inputs: Tensor) -> Tensor:
    """Compute survival [n] in (0, 1) of weights and gradients [n, 2] by a smooth rule.

    Large weights with large gradients live longer.
    """
    weight, gradient = inputs.abs().unbind(1)
    return torch.sigmoid(
        1.5 * torch.log(weight**0.8 * gradient**0.6 + 0.05 * weight.square() + 1e-3)
    )


def learned(backbone: str, *, steps: int, batch_size: int, lr: float = 1e-3) -> nn.Module:
    """Train a backbone by a few steps towards `survival`."""
    torch.manual_seed(0)
    network = BACKBONES[backbone](2)
    body = open_ended(network)
    optimizer = torch.optim.Adam(body.parameters(), lr=lr)
    for step in range(steps):
        inputs = draw(batch_size, seed=step)
        optimizer.zero_grad()
        F.mse_loss(body(inputs).flatten(), survival(inputs)).backward()
        optimizer.step()
    return network.eval()


def learned_vgg19(samples: int, steps: int) -> nn.Module:
    """Train the hidden layers of the largest backbone, on its random features.

    Adam on the whole backbone would need 18 GB.
    """
    torch.manual_seed(0)
    network = BACKBONES["vgg19"](2)
    body = open_ended(network)
    convolutions = next(i for i, layer in enumerate(body) if isinstance(layer, nn.Flatten))
    features, head = body[:convolutions], body[convolutions:]
    inputs = draw(samples, seed=0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                module.momentum = 1.0  # It keeps the statistics of one batch.
        features(inputs[:64])
        features.eval()
        seen = torch.cat([features(part) for part in inputs.split(32)])
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        F.mse_loss(head(seen).flatten(), survival(inputs)).backward()
        optimizer.step()
    return network.eval()


def open_ended(network: nn.Sequential) -> nn.Sequential:
    """Return a backbone without the ReLU at its end, if there is one.

    That ReLU can be 0 everywhere, and let no gradient through.
    """
    return network[:-2] if isinstance(network[-2], nn.ReLU) else network
