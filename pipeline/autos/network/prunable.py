"""Which weights of a network can be pruned, by name: those of linear and convolution layers."""

from collections.abc import Hashable, Iterator

from torch import Tensor, nn

from autos.errors import UserError

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Torch's layers that hold one prunable weight."""


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a network that can be pruned, by name, in module order.

    They are the weights (parameters) of linear and convolution layers, the packed or separate
    projections of `nn.MultiheadAttention`, and the weights of transformers' `Conv1D`. Nothing else
    is ever pruned: no biases, embeddings, normalisation, transposed convolutions or recurrent
    layers. A weight that several layers share counts once, under its first name, whether it is one
    parameter or several in one place of the memory; frozen weights count like all others. Wrappers
    (`torch.compile`, data parallelism) leave no trace in the names.

    Raises:
        UserError: A layer's weight is computed from others (parametrized, or under
            `torch.nn.utils.prune`).
    """
    weights: dict[str, Tensor] = {}
    seen: set[Hashable] = set()
    for name, module, attribute in slots(model):
        weight = getattr(module, attribute)
        if not isinstance(weight, nn.Parameter):
            raise UserError(
                f"{name} is computed from other tensors; make it a plain parameter first, with "
                "torch.nn.utils.parametrize.remove_parametrizations or torch.nn.utils.prune.remove"
            )
        if (values := memory(weight)) not in seen:
            seen.add(values)
            weights[name] = weight
    return weights


def slots(model: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield the name, layer and attribute of every prunable weight.

    A weight that several layers share is yielded for each of them.
    """
    for prefix, module in named_modules(model):
        for attribute in _attributes(module):
            yield prefix + attribute, module, attribute


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


def _attributes(module: nn.Module) -> tuple[str, ...]:
    if isinstance(module, LAYERS) or is_transposed(module):
        return ("weight",)
    if isinstance(module, nn.MultiheadAttention):
        if module.in_proj_weight is not None:
            return ("in_proj_weight",)
        return ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    return ()


def is_transposed(module: nn.Module) -> bool:
    """Tell whether a module is transformers' `Conv1D`, linear with weight [inputs, outputs].

    The class is known by its name, so that transformers is not imported.
    """
    return any(
        kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils"
        for kind in type(module).__mro__
    )
