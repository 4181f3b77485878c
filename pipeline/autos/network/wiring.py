"""How the units of prunable layers are connected, found by what lies between the layers.

A unit is a channel of a convolution or a feature of a linear layer. The model runs on ones, with
ones from every prunable layer, and all else that is learned out of the way: biases are 0, other
parameters 1, and normalisation is the identity. An input of a layer is connected to the outputs of
earlier layers that it has a derivative in: through activations, pooling, sums, concatenation,
flattening, and whatever else treats channels one by one.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from autos.errors import UserError
from autos.network.batches import Batch, map_tensors, ones, run, total
from autos.network.gradients import check_checkpoints
from autos.network.hessian import twice_differentiable
from autos.network.prunable import Axes, Layout, axes_of, layouts, prunable, slots

NORMS = (
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
)
"""Layers of normalisation, which the identity replaces."""

CHANNELWISE: tuple[Axes, ...] = ({"weight": "oi"}, {"weight": "io"})
"""Axes of layers in which a unit is a weighted sum of the units in front."""


@dataclass(frozen=True)
class Call:
    """One use of a prunable layer; a layer that is used twice has two calls.

    Attributes:
        name: Name of the layer's weight.
        layout: Where the layer's units and inputs are in the weight.
        entries: Whether the network's input reaches each input of the layer without passing
            another prunable layer, booleans [inputs].
        exits: Whether each output of the layer reaches the network's output without passing
            another prunable layer, booleans [outputs].
        sources: Number of the output of an earlier call that reaches each input of the layer, -1
            if none does, integers [inputs] by the index of the earlier call.
    """

    name: str
    layout: Layout
    entries: Tensor
    exits: Tensor
    sources: Mapping[int, Tensor]


def connections(model: nn.Module, batch: Batch) -> list[Call]:
    """Find the uses of prunable layers and how the layers' units are connected.

    Args:
        model: A copy in float64, whose parameters besides the prunable ones are overwritten.
        batch: A batch of the form that the model takes; its floating-point values do not matter.

    Returns:
        The calls, in the order in which the model makes them.

    Raises:
        UserError: There is attention or recurrence, something else mixes the channels of a layer
            before they reach the next layer, or no prunable layer has a part in the output.
    """
    weights = prunable(model)
    for name, layer, attribute in slots(model):
        if all(weight is not getattr(layer, attribute) for weight in weights.values()):
            raise UserError(f"{name} is left out, and walks lead through all layers")
    neutral_(model)
    names = {weight: name for name, weight in weights.items()}
    layers: dict[nn.Module, str] = {}
    for name, layer, attribute in slots(model):
        if axes_of(layer) not in CHANNELWISE:
            kind = "attention" if isinstance(layer, nn.MultiheadAttention) else type(layer).__name__
            raise UserError(f"{name} belongs to {kind}, which connects units by what they hold")
        layers[layer] = names[getattr(layer, attribute)]

    sample = map_tensors(_dense, ones(batch))
    shapes: list[torch.Size] = []
    leaves: list[Tensor] = []

    def leaf(index: int, layer: nn.Module, output: Tensor) -> Tensor:
        leaves.append(output.requires_grad_())
        return output.clone()  # The model may change it in place.

    with forward_ad.dual_level(), twice_differentiable(), without_normalisation(model):
        flow, called, _ = _pass(model, layers, sample, shapes, leaf)
        if not flow.requires_grad:
            raise UserError("no linear or convolution layer has a part in the model's output")
        check_checkpoints(flow)
        slopes = torch.autograd.grad(flow, leaves, materialize_grads=True)
        _, _, entries = _pass(model, layers, map_tensors(_varying, sample), shapes)
        moments = [
            [_pass(model, layers, sample, shapes, _numbered(index, power))[2] for power in range(3)]
            for index in range(len(called))
        ]
    axes = layouts(model)
    return [
        Call(
            layers[layer],
            axes[layers[layer]],
            entries[index] != 0,
            _by_unit(layer, slopes[index].abs()) != 0,
            {
                producer: _sources(*(arrived[index] for arrived in moments[producer]))
                for producer in range(index)
            },
        )
        for index, layer in enumerate(called)
    ]


def neutral_(model: nn.Module) -> None:
    """Set biases to 0, and all other parameters but weights of prunable layers to 1."""
    spared = {getattr(layer, attribute) for _, layer, attribute in slots(model)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter not in spared:
                parameter.fill_(0 if name.endswith("bias") else 1)


@contextlib.contextmanager
def without_normalisation(model: nn.Module) -> Iterator[None]:
    """Make normalisation layers put out, inside the block, what they get."""
    hooks = [
        module.register_forward_hook(lambda _, args, output: (*args, output)[0])
        for module in model.modules()
        if isinstance(module, NORMS)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


Leave = Callable[[int, nn.Module, Tensor], Tensor]
"""Function of a call's index, its layer and an output of ones, to what the layer puts out."""


def _pass(
    model: nn.Module,
    layers: Mapping[nn.Module, str],
    sample: Batch,
    shapes: list[torch.Size],
    leave: Leave = lambda index, layer, output: output,
) -> tuple[Tensor, list[nn.Module], list[Tensor]]:
    """Run the model with the layers replaced.

    Args:
        model: The model.
        layers: Names of the prunable layers' weights.
        sample: Input of the model.
        shapes: Shapes of what the calls put out; the first pass fills them in.
        leave: Function that gives what a layer puts out.

    Returns:
        The sum of the model's output; the layers in the order of their calls; and for each call
        the derivative of its inputs [inputs] along the tangents of `sample` and `leave`, summed
        over positions.
    """
    called: list[nn.Module] = []
    arrived: list[Tensor] = []

    computing = {layer: layer.forward for layer in layers}

    def replace(layer: nn.Module) -> None:
        def forward(inputs: Tensor, *sizes: Any, **named: Any) -> Tensor:
            value, tangent = forward_ad.unpack_dual(inputs)
            index = len(called)
            called.append(layer)
            arrived.append(_by_unit(layer, torch.zeros_like(value) if tangent is None else tangent))
            if index == len(shapes):  # The first pass finds the shapes.
                shapes.append(computing[layer](value.detach(), *sizes, **named).shape)
            return leave(index, layer, value.new_ones(shapes[index]))

        layer.forward = forward

    for layer in layers:
        replace(layer)
    try:
        return total(run(model, sample)), called, arrived
    finally:
        for layer, forward in computing.items():
            layer.forward = forward


def _dense(tensor: Tensor) -> Tensor:
    """Return a tensor of whose layout torch has derivatives along ones.

    Raises:
        UserError: It is of another layout.
    """
    if tensor.is_nested or tensor.layout != torch.strided:
        raise UserError("an input is sparse or nested, which walks cannot follow: give it dense")
    return tensor


def _varying(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return forward_ad.make_dual(tensor, torch.ones_like(tensor))


def _numbered(producer: int, power: int) -> Leave:
    """Make the outputs of one call vary, each by its number to this power."""

    def leave(index: int, layer: nn.Module, output: Tensor) -> Tensor:
        if index != producer:
            return output
        axis = _axis(layer, output)
        numbers = torch.arange(output.shape[axis], dtype=output.dtype) ** power
        tangent = numbers.expand_as(output.movedim(axis, -1)).movedim(-1, axis)
        return forward_ad.make_dual(output, tangent.to(output.device).contiguous())

    return leave


def _sources(total: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return the number of the one output that each input comes from, or -1, [inputs].

    Args:
        total: Sums of each input's derivatives in all outputs, [inputs].
        first: The same sums, with each derivative times the number of its output.
        second: The same sums, with each derivative times the square of that number.

    Raises:
        UserError: An input comes from several outputs.
    """
    if not torch.allclose(total * second, first.square(), rtol=1e-6, atol=1e-12):
        raise UserError("something mixes the channels of a layer before they reach the next one")
    number = torch.where(total == 0, -1, first / total)
    return number.round().long()


def _by_unit(layer: nn.Module, tensor: Tensor) -> Tensor:
    """Sum an input or output of the layer over all positions and samples, to [units]."""
    units = tensor.detach().movedim(_axis(layer, tensor), 0)
    return units.reshape(len(units), -1).sum(dim=1).cpu()


def _axis(layer: nn.Module, tensor: Tensor) -> int:
    """Return the axis of the units in an input or output of the layer."""
    weight: Tensor = layer.get_parameter("weight")
    return tensor.ndim - weight.ndim + 1
