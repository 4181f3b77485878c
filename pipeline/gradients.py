"""Gradient of the mean loss with respect to the prunable weights."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pipeline.batches import Batch, Batches, Loss, cross_entropy, one_line, run, size
from pipeline.cost import count
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
    gradient = loss_gradient(model, batches, loss)
    if not any(part.any() for part in gradient.values()):
        raise UserError("the loss does not depend on the weights: every gradient is 0")
    return gradient


def loss_gradient(model: nn.Module, batches: Batches, loss: Loss) -> dict[str, Tensor]:
    """As `mean_gradient`, of a network that pruning may have cut apart: all may be 0."""
    return gradient_of(lambda batch: loss(run(model, batch), batch), prunable(model), batches)


def gradient_of(
    mean_loss: Callable[[Batch], Tensor], weights: Mapping[str, Tensor], batches: Batches
) -> dict[str, Tensor]:
    """Gradient, averaged over all samples; 0 for the weights that the loss does not reach.

    Args:
        mean_loss: the mean over the samples of a batch, a scalar.

    Raises:
        UserError: the loss or a gradient is NaN or infinite, the loss is a constant, or torch
            lacks a derivative.
    """
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    samples = 0
    for index, batch in enumerate(batches):
        n = size(batch)
        count(backward=n)
        value = checked(mean_loss(batch), index)
        try:
            parts = torch.autograd.grad(value * n, list(weights.values()), allow_unused=True)
        except RuntimeError as error:
            raise UserError(f"the loss has no gradient: {one_line(error)}") from error
        for total, part in zip(sums.values(), parts, strict=True):
            if part is not None:
                total += part
        samples += n
    for name, total in sums.items():
        if not finite(total.div_(samples)):
            raise UserError(f"the gradient of {name} is NaN or infinite on the scoring batches")
    return sums


def finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite; ten times as fast as `isfinite().all()`."""
    return tensor.numel() == 0 or all(end.isfinite() for end in tensor.detach().aminmax())


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
