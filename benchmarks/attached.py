"""A training step of ResNet-18 under a mask, attached or as parametrizations, against a dense one.

Images have 64 px, a batch has 32 of them, and 10 % of the weights are kept. The three take turns,
and the median of the ratios counts. The target for an attached mask is 1.1 times the dense step;
parametrizations are shown for comparison, against the 1.4 times that they once took.

    python -m benchmarks attached
"""

import copy
from collections.abc import Callable

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from autos.masks.mask import Mask
from autos.network.prunable import prunable
from benchmarks.figures import Figure, at_most, ratio

REPEATS = 9
TARGETS = {"attached": 1.1, "parametrized": 1.4}


def run() -> list[Figure]:
    """Measure how many times as long as a dense step a masked one takes, in both ways."""
    torch.manual_seed(0)
    dense: nn.Module = torchvision.models.resnet18(num_classes=10)
    mask = Mask({name: torch.rand(w.shape) < 0.1 for name, w in prunable(dense).items()})
    attached, parametrized = copy.deepcopy(dense), copy.deepcopy(dense)
    dense_step, attached_step = _step(dense), _step(attached, mask)
    mask.parametrize(parametrized)
    masked = {"attached": attached_step, "parametrized": _step(parametrized)}
    return [
        at_most(f"attached: {name} over dense", ratio(step, dense_step, REPEATS), target, "times")
        for (name, step), target in zip(masked.items(), TARGETS.values(), strict=True)
    ]


def _step(model: nn.Module, mask: Mask | None = None) -> Callable[[], None]:
    """Return what makes a step of the model, by momentum SGD, on the same images each time."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    if mask is not None:
        mask.attach(model, optimizer)
    images, labels = torch.randn(32, 3, 64, 64), torch.randint(10, (32,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    step()  # The first one makes the optimizer's buffers.
    return step
