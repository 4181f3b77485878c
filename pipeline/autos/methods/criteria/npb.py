"""Node-path balancing, NPB (Pham et al., NeurIPS 2023): an integer program per layer.

Layer sizes are those of ERK. With M[i, j] the number of weights kept in the kernel from input
channel i to output channel j and P[i] the number of paths that reach i through the layers pruned
so far, each layer maximises

    alpha * nodes / (inputs + outputs) + (1 - alpha) * sum(P * M) / best + beta * kernels / kept

where nodes counts the input and output channels that keep a weight, best is the largest possible
sum(P * M), and kernels counts the non-empty M[i, j]; M is at most `max_per_kernel` and sums to the
layer's budget. The authors hand this to a mixed-integer solver in chunks of columns. No solver is
needed: the objective names outputs only through their sums, so spreading every row evenly over the
columns, each row starting where the one before stopped, is best for both nodes and kernels
whatever the row sums are. What remains is concave and separable in the row sums, and taking the
largest marginal gains first is exact. (With grouped convolutions a row has only the columns of its
group, and unless it has them for itself, the outputs are balanced within groups only.)

Paths are counted by a pass of ones through a network without values: biases are 0, all other
parameters 1, and normalisation is the identity. A layer that this pass does not show (the last one
of torch's attention is never called) is pruned as if every input had one path.

Which of the equivalent columns and which positions inside a kernel are kept is drawn at random.
Default settings are those of the authors' scripts for CIFAR; their command line has others.
"""

import inspect
import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.allocation import erk
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.batches import ones, run
from autos.network.prunable import layouts, prunable, slots
from autos.network.wiring import without_normalisation


class Settings(Config):
    """Settings of node-path balancing."""

    alpha: float = Field(default=0.01, ge=0, le=1)
    """Factor of the nodes in the objective; that of the paths is 1 - alpha."""
    beta: float = Field(default=1.0, ge=0)
    """Factor of the non-empty kernels in the objective."""
    max_per_kernel: int = Field(default=9, gt=0, le=10**9)
    """Largest number of weights in one kernel, unless the layer's budget needs more."""


@torch.no_grad()
def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score 1 for the weights that the program keeps, and 0 for the others."""
    weights = prunable(model)
    total = sum(weight.numel() for weight in weights.values())
    axes = layouts(model)
    shapes = {name: axes[name].by_unit(weight).shape for name, weight in weights.items()}
    budgets = erk(shapes, round(context.density * total))
    masks: dict[str, Tensor] = {}

    def prune(name: str, layer: nn.Module, inputs: Tensor | None) -> None:
        weight = weights[name]
        shape = shapes[name]
        channels = shape[1] * getattr(layer, "groups", 1)
        paths = torch.ones(channels, dtype=torch.float64)
        if inputs is not None:
            # Everything in front of this layer is pruned already: its input counts paths.
            by_channel = inputs.movedim(inputs.ndim - len(shape) + 1, 0)
            if len(by_channel) == channels:  # Otherwise the layer will refuse it.
                paths = by_channel.reshape(channels, -1).sum(dim=1).cpu()
        mask = layer_mask(shape, paths, budgets[name], context.generator, context.settings)
        masks[name] = axes[name].restored(mask)
        weight.copy_(masks[name])

    def prune_before_forward(layer: nn.Module, args: Any, kwargs: Any) -> None:
        call = inspect.signature(layer.forward).bind(*args, **kwargs)
        # Attention has a weight for each of its first three inputs, other layers have one.
        for name, inputs in zip(names[layer], call.arguments.values(), strict=False):
            if name not in masks and isinstance(inputs, Tensor):
                prune(name, layer, inputs)

    names: dict[nn.Module, list[str]] = {}
    for name, layer, _ in slots(model):
        if name in weights:
            names.setdefault(layer, []).append(name)
    hooks = [
        layer.register_forward_pre_hook(prune_before_forward, with_kwargs=True) for layer in names
    ]
    for name, parameter in model.named_parameters():
        parameter.fill_(0 if name.endswith("bias") else 1)
    try:
        with without_normalisation(model):
            run(model, ones(next(iter(context.batches))))
    finally:
        for hook in hooks:
            hook.remove()
    for layer, missed in names.items():
        for name in missed:
            if name not in masks:
                prune(name, layer, None)
    return {name: masks[name] for name in weights}


CRITERION = Criterion(
    "npb",
    score,
    settings=Settings,
    double=True,
    batch_norm="eval",
    data="none",
    paper="Pham et al., NeurIPS",
    year=2023,
    places=True,
    cost="1 pass of 1 sample",
)


def layer_mask(
    shape: torch.Size,
    paths: Tensor,
    budget: int,
    generator: torch.Generator,
    settings: Settings,
) -> Tensor:
    """Solve the program of one layer.

    Args:
        shape: Shape of the weight, [outputs, inputs / groups, ...kernel].
        paths: Number of paths into each input channel, float64 [inputs].
        budget: Number of weights to keep, at most the size of the layer.
        generator: Source of randomness, on the CPU.
        settings: Settings of the objective.

    Returns:
        Float64 tensor of `shape` with exactly `budget` ones, and zeros.
    """
    outputs, depth = shape[:2]
    kernel = math.prod(shape[2:])
    groups = len(paths) // depth
    columns = outputs // groups
    # A budget larger than max_per_kernel allows has to go somewhere, so it raises the limit.
    limit = min(kernel, max(settings.max_per_kernel, math.ceil(budget / (outputs * depth))))
    order = torch.randperm(len(paths), generator=generator)
    sums = torch.zeros(len(paths), dtype=torch.long)
    sums[order] = row_sums(
        paths[order],
        columns=columns,
        limit=limit,
        budget=budget,
        nodes=len(paths) + outputs,
        depthwise=depth == 1,
        settings=settings,
    )
    counts = torch.zeros(outputs, depth, dtype=torch.long)
    for group in range(groups):
        rows = torch.arange(depth)[torch.randperm(depth, generator=generator)]
        shuffled = torch.randperm(columns, generator=generator)
        row_of = rows.repeat_interleave(sums[group * depth + rows])
        column_of = shuffled[torch.arange(len(row_of)) % columns]
        ones = torch.ones(len(row_of), dtype=torch.long)
        counts.index_put_((group * columns + column_of, row_of), ones, accumulate=True)
    position = torch.rand(outputs, depth, kernel, generator=generator).argsort(dim=-1)
    return (position.argsort(dim=-1) < counts[..., None]).view(shape).double()


def row_sums(
    paths: Tensor,
    *,
    columns: int,
    limit: int,
    budget: int,
    nodes: int,
    depthwise: bool,
    settings: Settings,
) -> Tensor:
    """Compute how many weights each input channel keeps: the best of all integer row sums.

    Args:
        paths: Number of paths into each input channel, float64 [rows].
        columns: Number of kernels per row.
        limit: Largest number of weights in one kernel.
        budget: Sum of the result.
        nodes: Number of input and output channels.
        depthwise: Whether every row has columns of its own.
        settings: Settings of the objective.

    Returns:
        Number of weights in each row, int64 [rows].
    """
    rows = len(paths)
    best_first = paths.sort(descending=True).values
    capacity = columns * limit
    full, rest = divmod(budget, capacity)
    best = capacity * best_first[:full].sum() + (rest * best_first[full] if rest else 0)
    node = settings.alpha / nodes
    per_path = (1 - settings.alpha) * paths / best if best > 0 else torch.zeros_like(paths)
    # In a depthwise layer a kernel is an output channel, too.
    kernel = settings.beta / max(budget, 1) + (node if depthwise else 0)
    # Marginal gains of a row: its first weight, those that open a further kernel, the others.
    gains = torch.cat([per_path + kernel + node, per_path + kernel, per_path])
    sizes = torch.tensor([1, columns - 1, capacity - columns]).repeat_interleave(rows)
    order = gains.argsort(descending=True, stable=True)
    before = sizes[order].cumsum(0) - sizes[order]
    taken = torch.empty_like(sizes)
    taken[order] = (budget - before).clamp(min=0).minimum(sizes[order])
    return taken.view(3, rows).sum(dim=0)
