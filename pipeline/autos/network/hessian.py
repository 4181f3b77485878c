"""The product of the mean loss's Hessian and a vector, without the Hessian itself."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from autos.network.batches import Batch, Batches, Loss, run, size
from autos.network.cost import count
from autos.network.gradients import check_checkpoints, gradient_of
from autos.network.prunable import prunable


def hessian_product(
    model: nn.Module, batches: Batches, loss: Loss, vector: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Compute the product of the mean loss's Hessian and `vector`, over the prunable weights.

    Call it inside the block of `twice_differentiable`.

    Args:
        model: The network.
        batches: Batches whose samples the loss is averaged over.
        loss: Function of the model's output and a batch.
        vector: The vector, in the shapes of the prunable weights, by name.

    Returns:
        The product, in the shapes of the prunable weights, by name.

    Raises:
        UserError: The product is NaN or infinite, the gradient of the loss is a constant, or torch
            lacks a second derivative.
    """
    weights = prunable(model)

    def along_vector(batch: Batch) -> Tensor:
        """Return a scalar whose gradient is the Hessian of this batch's loss times `vector`."""
        value = loss(run(model, batch), batch)
        check_checkpoints(value)
        count(backward=size(batch))
        first = torch.autograd.grad(
            value, list(weights.values()), create_graph=True, materialize_grads=True
        )
        return torch.stack(
            [(part * vector[name]).sum() for name, part in zip(weights, first, strict=True)]
        ).sum()

    return gradient_of(along_vector, weights, batches)


@contextlib.contextmanager
def twice_differentiable() -> Iterator[None]:
    """Make torch use, inside the block, functions that have a second derivative."""
    # This is the one of torch's attention kernels that has a second derivative.
    with sdpa_kernel(SDPBackend.MATH), _Defined():
        yield


class _Defined(TorchFunctionMode):
    """Mode that computes hardsigmoid by its definition; torch's has no second derivative."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        return function(*args, **(kwargs or {}))
