"""The Hessian of the mean loss times a vector, without the Hessian."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from pipeline.batches import Batch, Batches, Loss, run, size
from pipeline.cost import count
from pipeline.gradients import gradient_of
from pipeline.prunable import prunable


def hessian_product(
    model: nn.Module, batches: Batches, loss: Loss, vector: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """H times `vector`, both over the prunable weights, with the loss averaged over all samples.

    To be called within `twice_differentiable()`.

    Raises:
        UserError: as `gradient_of`.
    """
    weights = prunable(model)

    def along_vector(batch: Batch) -> Tensor:
        """Its gradient is the Hessian of this batch's loss times the vector."""
        value = loss(run(model, batch), batch)
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
    """Compute by functions that have a second derivative where torch has a choice."""
    # Of torch's attention kernels this one has a second derivative.
    with sdpa_kernel(SDPBackend.MATH), _Defined():
        yield


class _Defined(TorchFunctionMode):
    """Computes hardsigmoid, which has no second derivative in torch, by its definition."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        return function(*args, **(kwargs or {}))
