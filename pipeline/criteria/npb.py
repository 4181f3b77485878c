"""Node-path balancing, NPB (Pham et al., NeurIPS 2023): an integer program per layer.

Layer sizes are those of ERK. With M[i, j] the number of weights kept in the kernel from input
channel i to output channel j and P[i] the number of paths that reach i through the layers pruned
so far, each layer maximises

    ALPHA * nodes / (inputs + outputs) + (1 - ALPHA) * sum(P * M) / best + BETA * kernels / kept

where nodes counts the input and output channels that keep a weight, best is the largest possible
sum(P * M), and kernels counts the non-empty M[i, j]; M is at most `MAX_PER_KERNEL` and sums to the
layer's budget. The authors hand this to a mixed-integer solver in chunks of columns. No solver is
needed: the objective names outputs only through their sums, so spreading every row evenly over the
columns, each row starting where the one before stopped, is best for both nodes and kernels
whatever the row sums are. What remains is concave and separable in the row sums, and taking the
largest marginal gains first is exact. (With grouped convolutions a row has only the columns of its
group, and unless it has them for itself, the outputs are balanced within groups only.)

Which of the equivalent columns and which positions inside a kernel are kept is drawn at random.
Constants are those of the authors' scripts for CIFAR; the defaults of their command line differ.
"""

import math

import torch
from torch import Tensor, nn

from pipeline.allocation import erk
from pipeline.batches import ones, run
from pipeline.criterion import Context, Criterion
from pipeline.prunable import CONVOLUTIONS, is_transposed, prunable, slots
from pipeline.selection import Scores

ALPHA, BETA, MAX_PER_KERNEL = 0.01, 1.0, 9


@torch.no_grad()
def score(model: nn.Module, context: Context) -> Scores:
    """1 for the weights that the program keeps and 0 for the others."""
    weights = prunable(model)
    total = sum(weight.numel() for weight in weights.values())
    budgets = erk(
        {name: weight.shape for name, weight in weights.items()}, round(context.density * total)
    )
    masks: dict[str, Tensor] = {}

    def prune(name: str, layer: nn.Module, paths: Tensor) -> None:
        shape = weights[name].shape
        if is_transposed(layer):
            masks[name] = layer_mask(shape[::-1], paths, budgets[name], context.generator).T
        else:
            masks[name] = layer_mask(shape, paths, budgets[name], context.generator)
        weights[name].copy_(masks[name])

    def prune_before_forward(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not inputs:  # called with keywords only
            return
        # Everything in front of this layer is pruned already: its input counts paths.
        channel = 1 if isinstance(layer, CONVOLUTIONS) else inputs[0].ndim - 1
        paths = inputs[0].movedim(channel, 0).flatten(1).sum(dim=1).cpu()
        for name in names[layer]:
            if name not in masks:
                prune(name, layer, paths)

    names: dict[nn.Module, list[str]] = {}
    for name, layer, _ in slots(model):
        if name in weights:
            names.setdefault(layer, []).append(name)
    hooks = [layer.register_forward_pre_hook(prune_before_forward) for layer in names]
    try:
        _let_paths_through(model)
        run(model, ones(next(iter(context.batches))))
    finally:
        for hook in hooks:
            hook.remove()
    for layer, missed in names.items():
        for name in missed:
            if name not in masks:  # not seen, as the last layer of torch's attention
                prune(name, layer, torch.ones(weights[name].shape[1]).double())
    return {name: masks[name] for name in weights}


CRITERION = Criterion(score, double=True, batch_norm="eval")


def _let_paths_through(model: nn.Module) -> None:
    """Make biases 0 and normalisation (in eval mode) the identity."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.eps = 0.0
            if module.affine:
                module.weight.fill_(1)


def layer_mask(shape: torch.Size, paths: Tensor, budget: int, generator: torch.Generator) -> Tensor:
    """Solve one layer.

    Args:
        shape: of the weight, [outputs, inputs / groups, ...kernel].
        paths: [inputs], paths into each input channel, float64.
        budget: weights to keep, at most the size of the layer.

    Returns:
        Float64 tensor of `shape` with exactly `budget` ones.
    """
    outputs, depth = shape[:2]
    kernel = math.prod(shape[2:])
    groups = len(paths) // depth
    columns = outputs // groups
    # A larger budget than MAX_PER_KERNEL allows has to go somewhere: raise the limit.
    limit = min(kernel, max(MAX_PER_KERNEL, math.ceil(budget / (outputs * depth))))
    order = torch.randperm(len(paths), generator=generator)
    sums = torch.zeros(len(paths), dtype=torch.long)
    sums[order] = row_sums(
        paths[order],
        columns=columns,
        limit=limit,
        budget=budget,
        nodes=len(paths) + outputs,
        depthwise=depth == 1,
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
    paths: Tensor, *, columns: int, limit: int, budget: int, nodes: int, depthwise: bool
) -> Tensor:
    """Weights kept per input channel: the exact maximum over all integer row sums.

    Args:
        paths: [rows], paths into each input channel.
        columns: kernels per row.
        limit: largest number of weights in one kernel.
        budget: sum of the result.
        nodes: input plus output channels.
        depthwise: every row has columns of its own.
    """
    rows = len(paths)
    best_first = paths.sort(descending=True).values
    capacity = columns * limit
    full, rest = divmod(budget, capacity)
    best = capacity * best_first[:full].sum() + (rest * best_first[full] if rest else 0)
    per_path = (1 - ALPHA) * paths / best if best > 0 else torch.zeros_like(paths)
    kernel = BETA / max(budget, 1) + (ALPHA / nodes if depthwise else 0)  # and its output channel
    # Marginal gains of a row: its first weight, those that open a further kernel, the others.
    gains = torch.cat([per_path + kernel + ALPHA / nodes, per_path + kernel, per_path])
    sizes = torch.tensor([1, columns - 1, capacity - columns]).repeat_interleave(rows)
    order = gains.argsort(descending=True, stable=True)
    before = sizes[order].cumsum(0) - sizes[order]
    taken = torch.empty_like(sizes)
    taken[order] = (budget - before).clamp(min=0).minimum(sizes[order])
    return taken.view(3, rows).sum(dim=0)
