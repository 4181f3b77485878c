"""Gradient of the mean loss with respect to the prunable weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pipeline.batches import Batch, Batches, Loss, cross_entropy, run, size
from pipeline.errors import UserError
from pipeline.prunable import prunable


def mean_gradient(
    model: nn.Module, batches: Batches, loss: Loss = cross_entropy
) -> dict[str, Tensor]:
    """Gradient of the loss, averaged over all samples; shapes are those of the weights.

    The mean, not the sum over batches of the AutoS code, so that it does not grow with the number
    of batches.

    Raises:
        UserError: the loss or a gradient is NaN or infinite, or the loss does not depend on the
            weights.
    """
    weights = prunable(model)
    sums, samples = summed_gradient(
        list(weights.values()), batches, lambda batch: loss(run(model, batch), batch)
    )
    for name, gradient in zip(weights, sums, strict=True):
        if not gradient.isfinite().all():
            raise UserError(f"the gradient of {name} is NaN or infinite on the scoring batches")
    if not any(gradient.any() for gradient in sums):
        raise UserError("the loss does not depend on the weights: every gradient is 0")
    return {name: gradient.div_(samples) for name, gradient in zip(weights, sums, strict=True)}


def summed_gradient(
    weights: list[Tensor], batches: Batches, mean_loss: Callable[[Batch], Tensor]
) -> tuple[list[Tensor], int]:
    """Gradient of the loss summed over all samples, and their number.

    Weights that the loss does not reach have gradient 0.

    Args:
        mean_loss: the mean over the samples of a batch, a scalar.
    """
    sums = [torch.zeros_like(weight) for weight in weights]
    samples = 0
    for index, batch in enumerate(batches):
        count = size(batch)
        value = checked(mean_loss(batch), index)
        gradients = torch.autograd.grad(value * count, weights, allow_unused=True)
        for total, gradient in zip(sums, gradients, strict=True):
            if gradient is not None:
                total += gradient
        samples += count
    return sums, samples


def checked(loss: Tensor, index: int) -> Tensor:
    """Raises UserError: the loss of batch `index` is no scalar, not finite, or a constant."""
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        shape = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(f"the loss must be a scalar tensor, the mean over the batch; it is {shape}")
    if not loss.isfinite():
        raise UserError(f"the loss of batch {index} is {loss.item()}: gradients are undefined")
    if not loss.requires_grad:
        raise UserError("the loss does not depend on the weights")
    return loss
