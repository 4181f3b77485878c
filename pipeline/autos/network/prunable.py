"""Which weights of a network can be pruned, by name: the matrices of the layers in `LAYERS`."""

import contextlib
import functools
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from autos.errors import UserError, did_you_mean

Axes = Mapping[str, str]
"""What the axes of a layer's weights are, by the attributes that hold them, one letter an axis: "o"
for outputs, "i" for inputs, and "s" for a stack of matrices. Further axes are a kernel."""


def _attention(layer: nn.MultiheadAttention) -> Axes:
    if layer.in_proj_weight is not None:
        return {"in_proj_weight": "oi"}
    return dict.fromkeys(("q_proj_weight", "k_proj_weight", "v_proj_weight"), "oi")


def _recurrent(layer: nn.RNNBase) -> Axes:
    return {name: "oi" for name in layer._flat_weights_names if name.startswith("weight")}


def _experts(layer: Any) -> Axes:
    # Classes that do not say how they hold their weights are of the time when all had inputs first.
    axes = "sio" if getattr(layer, "is_transposed", True) else "soi"
    return {name: axes for name in EXPERTS if isinstance(getattr(layer, name, None), Tensor)}


EXPERTS = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")
"""Names of the weights that transformers stacks over the experts of a mixture."""

LAYERS: dict[type[nn.Module], Axes | Callable[[Any], Axes]] = {
    nn.Linear: {"weight": "oi"},
    nn.Bilinear: {"weight": "oii"},
    nn.Conv1d: {"weight": "oi"},
    nn.Conv2d: {"weight": "oi"},
    nn.Conv3d: {"weight": "oi"},
    nn.ConvTranspose1d: {"weight": "io"},
    nn.ConvTranspose2d: {"weight": "io"},
    nn.ConvTranspose3d: {"weight": "io"},
    nn.MultiheadAttention: _attention,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: {"weight_ih": "oi", "weight_hh": "oi"},
}
"""Types of layers that hold prunable weights, which subclasses do in the same way.

`LAYERS[Experts] = {"up": "sio", "down": "sio"}` makes the weights of a type of one's own prunable,
and `LAYERS[nn.Embedding] = {"weight": "io"}` embeddings.
"""

TRANSFORMERS: dict[str, Axes | Callable[[Any], Axes]] = {
    "transformers.pytorch_utils.Conv1D": {"weight": "io"},
    "transformers.models.*Experts": _experts,
}
"""Types of transformers' layers, by patterns of their names, so that it is not imported."""


SHARDED = "torch.distributed.fsdp."
"""What the names of classes that shard a network begin with."""

QUANTISED = ("torch.ao.nn.quantized.", "torch.ao.nn.intrinsic.quantized.", "bitsandbytes.nn.")
"""What the names of classes of quantised layers begin with."""


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network that can be pruned, by name, in module order.

    They are the weights (parameters) of linear, bilinear, convolution, transposed convolution and
    recurrent layers, the packed or separate projections of `nn.MultiheadAttention`, transformers'
    `Conv1D` and its stacked experts, and what else `LAYERS` names. Nothing else is ever pruned: no
    biases, embeddings or normalisation. A weight that several layers share counts once, under its
    first name, whether it is one parameter or several in one place of the memory. Frozen weights
    count like all others, and only `leaving_out` takes any away. Wrappers (`torch.compile`, data
    parallelism) leave no trace in the names.

    Weights without values, [0, n], are left out.

    Raises:
        UserError: A layer's weight is computed from others (parametrized, or under
            `torch.nn.utils.prune`), sharded, quantised, sparse or expanded.
    """
    weights: dict[str, Tensor] = {}
    seen: set[Hashable] = set()
    for name, module, attribute in slots(model):
        if name in _left_out.get():
            continue
        weight = getattr(module, attribute)
        if (fault := _fault(module, attribute, weight)) is not None:
            raise UserError(f"{name} {fault}")
        if weight.numel() == 0:
            continue
        if (values := memory(weight)) not in seen:
            seen.add(values)
            weights[name] = weight
    return weights


_left_out: ContextVar[Collection[str]] = ContextVar("left_out", default=())


@contextlib.contextmanager
def leaving_out(names: Collection[str]) -> Iterator[None]:
    """Make these weights count as not prunable inside the block, in a model and all its copies."""
    token = _left_out.set(names)
    try:
        yield
    finally:
        _left_out.reset(token)


Selectors = str | type[nn.Module] | Collection[str | type[nn.Module]]
"""Patterns of names, as "head" or "*.lora_?", and types of modules. A weight is meant by its own
name or type and by those of every module that holds it."""


def chosen(model: nn.Module, selectors: Selectors, argument: str) -> set[str]:
    """Return the names of the prunable weights that selectors mean, with all names of a tied one.

    Args:
        model: The network.
        selectors: What is meant.
        argument: Name of the argument, for the error message.

    Raises:
        UserError: A selector is neither a pattern nor a type, or means nothing in the model.
    """
    if isinstance(selectors, (str, type)):
        selectors = [selectors]
    if not isinstance(selectors, Collection):
        raise UserError(f"{argument} takes a list of patterns and types, not {selectors!r:.80}")
    modules = dict(named_modules(model))
    parameters = [
        prefix + name for prefix, module in modules.items() for name in module._parameters
    ]
    every = {name: (module, attribute) for name, module, attribute in slots(model)}
    found: set[str] = set()
    for selector in selectors:
        if not isinstance(selector, str) and not _is_module_type(selector):
            raise UserError(
                f"{argument} takes patterns of names and types of modules, not {selector!r:.80}"
            )
        meant = {name for name in {*every, *parameters} if _means(selector, name, modules)}
        if not meant:
            hint = _nearest(selector, [*(prefix[:-1] for prefix in modules), *parameters])
            raise UserError(f"{argument}: {selector!r} means no weight of the model; {hint}")
        found |= meant & every.keys()
    tied = {memory(getattr(*every[name])) for name in found}
    return {name for name, slot in every.items() if name in found or memory(getattr(*slot)) in tied}


def frozen(model: nn.Module) -> set[str]:
    """Return the names of the prunable weights that want no gradient under any of their names."""
    places: dict[Hashable, dict[str, Tensor]] = defaultdict(dict)
    for name, module, attribute in slots(model):
        weight = getattr(module, attribute)
        if isinstance(weight, nn.Parameter):  # What is computed is refused, not frozen.
            places[memory(weight)][name] = weight
    return {
        name
        for same in places.values()
        if not any(w.requires_grad or not w.is_floating_point() for w in same.values())
        for name in same
    }


def _is_module_type(selector: Any) -> bool:
    return isinstance(selector, type) and issubclass(selector, nn.Module)


def _means(selector: str | type[nn.Module], name: str, modules: Mapping[str, nn.Module]) -> bool:
    parts = name.split(".")
    prefixes = ["".join(f"{part}." for part in parts[:end]) for end in range(len(parts))]
    if isinstance(selector, str):
        names = (name, *(prefix[:-1] for prefix in prefixes[1:]))
        return any(fnmatchcase(each, selector) for each in names)
    return any(isinstance(modules.get(prefix), selector) for prefix in prefixes)


def _nearest(selector: str | type[nn.Module], names: list[str]) -> str:
    hint = did_you_mean(selector, names).strip() if isinstance(selector, str) else ""
    return hint or "model.named_parameters() lists the names"


def _fault(module: nn.Module, attribute: str, weight: Tensor) -> str | None:
    """Say what keeps a weight from being pruned as it is, and what helps; None is nothing."""
    if not isinstance(weight, nn.Parameter):
        if f"{attribute}_g" in module._parameters:
            remedy = "torch.nn.utils.remove_weight_norm"
        elif f"{attribute}_u" in module._buffers:
            remedy = "torch.nn.utils.remove_spectral_norm"
        elif f"{attribute}_mask" in module._buffers:
            remedy = "torch.nn.utils.prune.remove"
        else:
            remedy = "torch.nn.utils.parametrize.remove_parametrizations"
        return f"is computed from other tensors; make it a plain parameter first, with {remedy}"
    if is_traceable_wrapper_subclass(weight):
        kind = type(weight).__name__
        return f"is a {kind}: prune the network before it is sharded or quantised"
    if weight.layout != torch.strided:
        return "is a sparse tensor: make it nn.Parameter(weight.to_dense())"
    if any(step == 0 < size - 1 for step, size in zip(weight.stride(), weight.shape, strict=True)):
        return "is expanded from fewer values: make it nn.Parameter(weight.contiguous())"
    return None


def check_plain(model: nn.Module) -> None:
    """Refuse a network of which parts are compiled, sharded or quantised, and hold no weights.

    Raises:
        UserError: There is such a part.
    """
    for name, module in model.named_modules():
        what, kind = name or "the model", type(module).__name__
        bases = [f"{base.__module__}.{base.__name__}" for base in type(module).__mro__]
        if isinstance(module, torch.jit.ScriptModule):
            raise UserError(f"{what} is TorchScript: prune the module that it was made of")
        if any(base.startswith(SHARDED) and base.endswith("DataParallel") for base in bases):
            raise UserError(f"{what} is a {kind}: prune the network before it is sharded")
        if any(base.startswith(QUANTISED) for base in bases):
            raise UserError(f"{what} is a quantised {kind}: prune the network before that")


def uncovered(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network that cannot be pruned or are left out, by name.

    They are the parameters with two axes or more, such as embeddings, that are in no prunable
    weight; biases and the scales of normalisation are no weights.
    """
    seen = {memory(weight) for weight in prunable(model).values()}
    others: dict[str, Tensor] = {}
    for prefix, module in named_modules(model):
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.ndim > 1 and memory(parameter) not in seen:
                seen.add(memory(parameter))
                others[prefix + name] = parameter
    return others


def coverage(model: nn.Module) -> float:
    """Return the share of a network's weights that can be pruned, of which a mask tells."""
    sizes = [
        sum(weight.numel() for weight in weights.values())
        for weights in (prunable(model), uncovered(model))
    ]
    return sizes[0] / max(sum(sizes), 1)


def slots(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield the name, layer and attribute of every prunable weight, be it left out or not.

    A weight that several layers share is yielded for each of them.
    """
    for prefix, module in named_modules(model):
        for attribute in axes_of(module):
            yield prefix + attribute, module, attribute


@dataclass(frozen=True)
class Layout:
    """Where the output units and inputs of a weight are.

    Attributes:
        shape: Shape of the weight.
        axes: A letter for each axis, as in `Axes`.
        groups: Number of groups into which a transposed convolution's inputs and outputs fall.
    """

    shape: torch.Size
    axes: str
    groups: int = 1

    def by_unit(self, tensor: Tensor) -> Tensor:
        """Bring a tensor of the weight's shape into that of a convolution's weight.

        Returns:
            Tensor [units, inputs of a unit, ...kernel]. The matrices of a stack lie one below the
            other, and a bilinear layer has an input for each product of two.
        """
        sizes, order, units, inputs = self._split()
        return tensor.reshape(sizes).permute(order).flatten(0, units - 1).flatten(1, inputs)

    def restored(self, tensor: Tensor) -> Tensor:
        """Bring a tensor as of `by_unit` back into the weight's shape."""
        sizes, order, *_ = self._split()
        back = sorted(range(len(order)), key=order.__getitem__)
        return tensor.reshape([sizes[axis] for axis in order]).permute(back).reshape(self.shape)

    def _split(self) -> tuple[list[int], list[int], int, int]:
        """Return sizes with an axis of groups, the order of axes by unit, and the numbers of both.

        Both are the axes that make up the units, and those that make up the inputs.
        """
        sizes, axes = list(self.shape), self.axes
        if self.groups > 1:
            sizes, axes = [self.groups, sizes[0] // self.groups, *sizes[1:]], f"s{axes}"
        units = [axis for axis, letter in enumerate(axes) if letter != "i"]
        inputs = [axis for axis, letter in enumerate(axes) if letter == "i"]
        kernel = range(len(axes), len(sizes))
        return sizes, [*units, *inputs, *kernel], len(units), len(inputs)


def layouts(model: nn.Module) -> dict[str, Layout]:
    """Return the layouts of all prunable weights by name, those of shared ones by all names."""
    found = {}
    for name, module, attribute in slots(model):
        axes = axes_of(module)[attribute]
        groups = getattr(module, "groups", 1) if axes == "io" else 1
        found[name] = Layout(getattr(module, attribute).shape, axes, groups)
    return found


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module of a network once, without wrappers.

    Yields:
        Prefix of the names of the module's parameters ("" or "layer1.0."), and the module.
    """
    seen: set[nn.Module] = set()

    def walk(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
        module = unwrap(module)
        if module not in seen:
            seen.add(module)
            yield prefix, module
            for name, child in module.named_children():
                yield from walk(child, f"{prefix}{name}.")

    return walk(model, "")


def unwrap(model: nn.Module) -> nn.Module:
    """Return the network inside `torch.compile`, DataParallel and DistributedDataParallel."""
    while True:
        if "_orig_mod" in model._modules:  # torch.compile's class takes a second to import.
            model = model.get_submodule("_orig_mod")
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        else:
            return model


def places(model: nn.Module, weight: Tensor) -> Iterator[tuple[nn.Module, str]]:
    """Yield all modules that hold `weight` as a parameter, with the attribute's name."""
    values = memory(weight)
    for module in model.modules():
        for attribute, parameter in module._parameters.items():
            if parameter is not None and memory(parameter) == values:
                yield module, attribute


def memory(tensor: Tensor) -> Hashable:
    """Return what identifies the values of a tensor: equal for tensors that are tied in any way."""
    try:
        start = tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError, ValueError):  # It has no storage, or one of its own.
        start = 0
    if start == 0:  # There are no values, or not yet.
        return id(tensor)
    return start, tensor.storage_offset(), tensor.dtype, tensor.shape, tensor.stride()


def axes_of(module: nn.Module) -> Axes:
    """Return what the axes of a layer's prunable weights are, by attribute."""
    for kind in type(module).__mro__:
        known = LAYERS.get(kind) or TRANSFORMERS.get(_pattern(kind))
        if known is not None:
            return known(module) if callable(known) else known
    return {}


@functools.cache
def _pattern(kind: type) -> str:
    """Return the pattern in `TRANSFORMERS` that fits a class, or nothing."""
    name = f"{kind.__module__}.{kind.__name__}"
    return next((pattern for pattern in TRANSFORMERS if fnmatchcase(name, pattern)), "")
