"""Gram matrix of gradients during a training: do they keep pointing in one direction?

Entry i, j is the cosine between the gradients of steps i and j. The paper that revisits lottery
tickets draws its hyperbolic tangent; here it is the cosine itself. A gradient is that of one
batch, over all trainable parameters; those of pruned weights are left out.
"""

import torch
from torch import Tensor

from autos.errors import UserError
from autos.training.callbacks import Callback, Loop

PIECE = 2**18
"""Number of parameters that are held in double precision at once."""


class GradientRecorder(Callback):
    """Stores the gradient of every `every`-th step, divided by its norm.

    A stored gradient takes 4 bytes a parameter, on the CPU.

    Attributes:
        every: Number of steps from one stored gradient to the next.
        steps: Steps at which gradients were stored, counted from 0.
        gradients: Stored gradients, each of them float32 [parameters] and of norm 1.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.steps: list[int] = []
        self.gradients: list[Tensor] = []

    def before_step(self, loop: Loop) -> None:
        """Store the gradient, if it is the turn of this step.

        Raises:
            UserError: The gradient is 0 or NaN, and has no direction.
        """
        if loop.step % self.every:
            return
        masks = {id(loop.weights[name]): keep for name, keep in loop.keep.items()}
        parts = [
            (parameter.grad * masks.get(id(parameter), 1)).flatten().float()
            for parameter in loop.model.parameters()
            if parameter.grad is not None
        ]
        gradient = torch.cat(parts)
        norm = gradient.norm()
        if not norm > 0:
            raise UserError(f"the gradient at step {loop.step} is 0: it has no direction")
        self.steps.append(loop.step)
        self.gradients.append((gradient / norm).cpu())


def gram(gradients: list[Tensor]) -> Tensor:
    """Compute the inner products, float64 [n, n], of n vectors [parameters]."""
    result = torch.zeros(len(gradients), len(gradients), dtype=torch.float64)
    for parts in zip(*(gradient.split(PIECE) for gradient in gradients), strict=True):
        piece = torch.stack(parts).double()
        result += piece @ piece.T
    return result
