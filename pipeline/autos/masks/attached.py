"""A mask at work in somebody's training: pruned weights stay at exactly zero, step after step."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.optim import Optimizer

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integer types by the number of bytes of a value."""


class Attached:
    """Pruned weights of a model, held at exactly zero while optimizers train it.

    The gradient of a pruned weight is set to zero as it arrives, so that it counts neither for
    gradient clipping nor for momentum, and the weight itself after every step of the optimizer.
    Parameters stay parameters: the state dict has the names that it had before.

    It ends with `detach()`, or with the block of a `with` statement. It takes as much memory as
    the weights.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        keep: Mapping[str, Tensor],
        optimizers: Iterable[Optimizer],
    ) -> None:
        self._handles = [o.register_step_post_hook(self._after_step) for o in optimizers]
        self._pruned = [Pruned(weight, keep[name]) for name, weight in weights.items()]
        for pruned in self._pruned:
            if pruned.weight.requires_grad:
                hook = pruned.weight.register_post_accumulate_grad_hook(pruned.zero_gradient_)
                self._handles.append(hook)

    def detach(self) -> None:
        """Let the optimizers train all weights again."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.detach()

    def _after_step(self, *_: Any) -> None:
        for pruned in self._pruned:
            pruned.zero_(pruned.weight)


class Pruned:
    """A weight and the places in it that are zero."""

    def __init__(self, weight: Tensor, keep: Tensor) -> None:
        self.weight = weight
        self.bits = keep.to(weight.device, INTEGERS[weight.element_size()]).neg_()

    @torch.no_grad()
    def zero_(self, values: Tensor) -> None:
        """Set the pruned places of a tensor that is shaped as the weight to zero."""
        if self.bits.device != values.device:  # The model was moved.
            self.bits = self.bits.to(values.device)
        # This is faster than a product, which is NaN for a value that is infinite or NaN, too.
        values.view(self.bits.dtype).bitwise_and_(self.bits)

    def zero_gradient_(self, weight: Tensor) -> None:
        """Set the pruned places of the weight's gradient to zero."""
        if weight.grad is not None:
            self.zero_(weight.grad)
