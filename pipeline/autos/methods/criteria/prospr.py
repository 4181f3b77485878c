"""ProsPr (Alizadeh et al., ICLR 2022): |dL(theta_M) / dm|, the effect of a mask on later training.

The masked initialisation is trained for a few steps of plain SGD, and the loss after them is
differentiated in the mask through all the steps; at a mask of ones that is the derivative in the
initial weights times those weights. `first_order` takes the derivative in the last weights instead.
All steps see the first batch, unless `new_batches` is set. Without any steps the score is SNIP's.

The authors' code detaches the first momentum, which with momentum loses a part of the derivative;
here nothing is lost.
"""

from collections.abc import Mapping
from itertools import chain, islice, repeat

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.batches import Batch, run, size
from autos.network.cost import count
from autos.network.gradients import check_checkpoints, checked, gradient_of, with_parameters
from autos.network.hessian import twice_differentiable
from autos.network.prunable import prunable


class Settings(Config):
    """Settings of ProsPr."""

    steps: int = Field(default=3, ge=0, le=100)
    """Number of training steps before the loss."""
    lr: float = Field(default=0.1, gt=0)
    """Learning rate of the steps."""
    momentum: float = Field(default=0, ge=0, lt=1)
    """Momentum of the steps."""
    first_order: bool = False
    """Whether the derivative is taken in the last weights, which is a third of the cost."""
    new_batches: bool = False
    """Whether every step, and the loss after the steps, takes another batch."""


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score every weight by |dL(theta_M) / dm|."""
    settings = context.settings
    model.requires_grad_(True)
    initial: dict[str, Tensor] = dict(model.named_parameters())
    weights = prunable(model)
    source = chain.from_iterable(repeat(context.batches))
    batches = list(islice(source, settings.steps + 1 if settings.new_batches else 1))

    def loss(parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return context.loss(run(with_parameters(model, parameters), batch), batch)

    with twice_differentiable():
        parameters: Mapping[str, Tensor] = initial
        velocity = {name: torch.zeros_like(tensor) for name, tensor in initial.items()}
        for step in range(settings.steps):
            batch = batches[step % len(batches)]
            # Each step goes forward, backward, and in the end backward through both.
            count(backward=size(batch) * (1 if settings.first_order else 2))
            value = checked(loss(parameters, batch), step)
            check_checkpoints(value)
            gradient = torch.autograd.grad(
                value,
                list(parameters.values()),
                create_graph=not settings.first_order,
                materialize_grads=True,
            )
            for name, part in zip(initial, gradient, strict=True):
                velocity[name] = settings.momentum * velocity[name] + part
            parameters = {
                name: tensor - settings.lr * velocity[name] for name, tensor in parameters.items()
            }
            if settings.first_order:
                parameters = {
                    name: tensor.detach().requires_grad_() for name, tensor in parameters.items()
                }
        ends: Mapping[str, Tensor] = weights
        if settings.first_order:
            place = {tensor: name for name, tensor in initial.items()}
            ends = {name: parameters[place[weight]] for name, weight in weights.items()}
        effect = gradient_of(lambda batch: loss(parameters, batch), ends, batches[-1:])
    return {name: effect[name].mul_(weight.detach()).abs_() for name, weight in weights.items()}


CRITERION = Criterion(
    "prospr",
    score,
    settings=Settings,
    batch_norm="train",
    paper="Alizadeh et al., ICLR",
    year=2022,
    cost="4 gradients, 3 twice differentiated",
)
