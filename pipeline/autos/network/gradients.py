"""The gradient of the mean loss with respect to the prunable weights."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from autos.errors import UserError, brief
from autos.network.batches import Batch, Batches, Loss, as_loss, cross_entropy, run, size
from autos.network.cost import count
from autos.network.prunable import prunable

NO_CHECKPOINTS = "activation checkpoints cannot be derived here: turn them off"
"""What is said of checkpoints where the backward pass is not in the context of the forward pass."""


def mean_gradient(
    model: nn.Module, batches: Batches, loss: Loss = cross_entropy
) -> dict[str, Tensor]:
    """Compute the gradient of the loss, averaged over all samples.

    The released code of the AutoS paper sums over batches instead; the mean does not grow with the
    number of batches.

    Returns:
        Gradients in the shapes of the prunable weights, by name.

    Raises:
        UserError: The loss or a gradient is NaN or infinite, or the loss does not depend on the
            weights.
    """
    gradient = loss_gradient(model, batches, loss)
    if not any(part.any() for part in gradient.values()):
        raise UserError("the loss does not depend on the weights: every gradient is 0")
    return gradient


def loss_gradient(model: nn.Module, batches: Batches, loss: Loss) -> dict[str, Tensor]:
    """Compute the gradient of the loss, averaged over all samples, of any network.

    A network that pruning has cut apart has gradients that are all 0. Here that is no error, as it
    is in `mean_gradient`.

    Returns:
        Gradients in the shapes of the prunable weights, by name.

    Raises:
        UserError: The loss or a gradient is NaN or infinite, the loss is a constant, or torch
            lacks a derivative.
    """
    loss = as_loss(loss)
    return gradient_of(lambda batch: loss(run(model, batch), batch), prunable(model), batches)


def gradient_of(
    mean_loss: Callable[[Batch], Tensor], weights: Mapping[str, Tensor], batches: Batches
) -> dict[str, Tensor]:
    """Compute the gradient of any function of batches, averaged over all samples.

    Args:
        mean_loss: Function of a batch that returns the mean over its samples, a scalar.
        weights: Tensors by name that the derivative is taken by.
        batches: Batches as the function takes them.

    Returns:
        Gradients in the shapes of the weights, by name; 0 where the function does not depend on
        the weight.

    Raises:
        UserError: The loss or a gradient is NaN or infinite, the loss is a constant, or torch
            lacks a derivative.
    """
    sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    samples = 0
    for index, batch in enumerate(batches):
        n = size(batch)
        count(backward=n)
        value = checked(mean_loss(batch), index)
        try:
            parts = first_derivatives(value * n, list(weights.values()))
        except RuntimeError as error:
            raise UserError(f"the loss has no gradient: {brief(error)}") from error
        for total, part in zip(sums.values(), parts, strict=True):
            if part is not None:
                total += part
        samples += n
    for name, total in sums.items():
        if not finite(total.div_(samples)):
            raise UserError(f"the gradient of {name} is NaN or infinite on the scoring batches")
    return sums


def first_derivatives(value: Tensor, leaves: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Compute the derivatives of a scalar by leaves of its graph, None by those it has none of.

    Reentrant checkpoints, of which `torch.autograd.grad` sees nothing, are derived as well.
    """
    if not checkpointed(value):
        return torch.autograd.grad(value, list(leaves), allow_unused=True)
    before = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    value.backward()
    parts = [leaf.grad for leaf in leaves]
    for leaf, gradient in zip(leaves, before, strict=True):
        leaf.grad = gradient
    return parts


def checkpointed(value: Tensor) -> bool:
    """Tell whether a reentrant checkpoint lies in the graph of a tensor."""
    left, seen = [value.grad_fn], {None, value.grad_fn}
    while left:
        node = left.pop()
        if node is None:
            continue
        if "CheckpointFunction" in node.name():
            return True
        for before, _ in node.next_functions:
            if before not in seen:
                seen.add(before)
                left.append(before)
    return False


def check_checkpoints(value: Tensor) -> None:
    """Refuse a reentrant checkpoint where torch cannot derive what passes through it.

    That is where the derivative has a graph of its own, or the weights are stood in for.

    Raises:
        UserError: There is one in the graph of `value`.
    """
    if checkpointed(value):
        raise UserError(
            "the model uses reentrant checkpoints, which this method cannot derive: give "
            "checkpoint(..., use_reentrant=False), or turn them off"
        )


def with_parameters(model: nn.Module, parameters: Mapping[str, Tensor]) -> nn.Module:
    """Return the model with these parameters in the place of its own.

    A checkpoint that it meets as it runs is an error: in the backward pass it would run again, on
    the model's own parameters.
    """
    placed = nn.Module()

    @wraps(model.forward)  # `run` asks for the arguments.
    def forward(*args: Any, **kwargs: Any) -> Any:
        with torch.autograd.graph.disable_saved_tensors_hooks(NO_CHECKPOINTS):
            return functional_call(model, dict(parameters), args, kwargs)

    placed.forward = forward
    return placed


def finite(tensor: Tensor) -> bool:
    """Tell whether no value is NaN or infinite, ten times as fast as `isfinite().all()`."""
    return tensor.numel() == 0 or all(end.isfinite() for end in tensor.detach().aminmax())


def checked(loss: Tensor, index: int) -> Tensor:
    """Return the loss of a batch once it is known to have a gradient.

    Args:
        loss: The loss.
        index: Number of the batch, for the error message.

    Raises:
        UserError: The loss is no scalar tensor, is NaN or infinite, or is a constant.
    """
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        shape = list(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise UserError(f"the loss must be a scalar tensor, the mean over the batch; it is {shape}")
    if not loss.isfinite():
        raise UserError(f"the loss of batch {index} is {loss.item()}: gradients are undefined")
    if not loss.requires_grad:
        raise UserError("the loss does not depend on the weights")
    return loss
