"""Linear mode connectivity: the loss on the line between two trained copies of a network.

The copies share initialisation and mask, and differ in the order of the batches and augmentation.
All parameters are interpolated, those of BatchNorm too; its running statistics belong to neither
copy's activations, so they are computed anew from training data at every point, the ends included
(published code keeps those of one copy). The barrier has two definitions, of loss or error L at
the share s of the first copy:

    from the line: max |s L(first) + (1 - s) L(second) - L(s)|         (Revisiting LTH)
    above the mean: max L(s) - (L(first) + L(second)) / 2              (Frankle et al., ICML 2020)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from autos.network.batches import Batches, Loss, cross_entropy, logits, run, size
from autos.network.working_copy import working_copy

BATCH_NORM = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class Path:
    """What is seen on the way from the second network to the first.

    Attributes:
        shares: Shares of the first network's weights, from 0 to 1.
        loss: Mean loss over the samples, at each share.
        error: Fraction of the samples that is misclassified, at each share.
    """

    shares: list[float]
    loss: list[float]
    error: list[float]


@dataclass(frozen=True)
class Barrier:
    """Height of a barrier, where 0 says that the networks are linearly connected.

    Attributes:
        from_line: Largest distance from the straight line between the ends.
        above_mean: Largest value minus the mean of the ends.
    """

    from_line: float
    above_mean: float


def path(
    first: nn.Module,
    second: nn.Module,
    *,
    training: Batches,
    test: Batches,
    points: int,
    loss: Loss = cross_entropy,
) -> Path:
    """Evaluate `points` evenly spaced networks between `second` and `first`, both included.

    Args:
        first: Network at the share 1.
        second: Network at the share 0.
        training: Batches for the statistics of BatchNorm.
        test: Pairs (inputs, labels) for loss and error.
        points: Number of networks, 2 at least.
        loss: Function of the model's output and a batch.
    """
    shares = torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    values = []
    for share in shares:
        between = interpolate(first, second, share)
        recompute_batch_norm_(between, training)
        values.append(evaluate(between, test, loss))
    return Path(shares, [value for value, _ in values], [error for _, error in values])


def barrier(values: Sequence[float], shares: Sequence[float]) -> Barrier:
    """Compute the barrier of a loss or an error along a path.

    Args:
        values: Loss or error at each share.
        shares: Shares of the first network, from 0 to 1.
    """
    second, first = values[0], values[-1]
    return Barrier(
        from_line=max(
            abs(share * first + (1 - share) * second - value)
            for share, value in zip(shares, values, strict=True)
        ),
        above_mean=max(values) - (first + second) / 2,
    )


@torch.no_grad()
def interpolate(first: nn.Module, second: nn.Module, share: float) -> nn.Module:
    """Return a network that is `share` of `first` and the rest of `second`, in all parameters."""
    between = working_copy(second)
    targets = dict(first.named_parameters())
    for name, parameter in between.named_parameters():
        parameter.lerp_(targets[name].to(parameter), share)
    return between


@torch.no_grad()
def recompute_batch_norm_(model: nn.Module, batches: Batches) -> None:
    """Set the running statistics of BatchNorm to their mean over batches; dropout stays off."""
    layers = [module for module in model.modules() if isinstance(module, BATCH_NORM)]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # Every batch counts the same.
        layer.train()
    if layers:
        for batch in batches:
            run(model, batch)
    model.eval()


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, loss: Loss) -> tuple[float, float]:
    """Compute mean loss and error over all samples, in the mode that the model is in."""
    total, wrong, samples = 0.0, 0, 0
    for batch in batches:
        output = run(model, batch)
        total += float(loss(output, batch)) * size(batch)
        wrong += int((logits(output).argmax(dim=1) != batch[1]).sum())
        samples += size(batch)
    return total / samples, wrong / samples
