"""Copies of a model to score or train, so that the model itself stays untouched."""

import contextlib
import copy
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.overrides import TorchFunctionMode

from autos.errors import UserError, brief
from autos.network.prunable import memory, named_modules, prunable, unwrap

T = TypeVar("T")


def working_copy(model: nn.Module, *, double: bool = False) -> nn.Module:
    """Make an uncompiled copy in one precision, whose prunable weights want a gradient.

    Args:
        model: The model, which is left untouched.
        double: Whether the copy is in double precision even if not all prunable weights are;
            otherwise it is in single precision then.

    Raises:
        UserError: The model cannot be copied.
    """
    scored = copied(model)
    for module in list(scored.modules()):
        for name, child in module.named_children():
            setattr(module, name, unwrap(child))
        if hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable"):
            del module.forward  # It is compiled, and so bound to the original.
    weights = prunable(scored).values()
    # Gradients in half precision underflow.
    if double or all(weight.dtype == torch.float64 for weight in weights):
        scored.double()
    else:
        scored.float()
    for weight in weights:
        weight.requires_grad_(True)
    return scored


def copied(model: nn.Module) -> nn.Module:
    """Copy a model, without a wrapper around it.

    Parameters that share their values become one parameter, whose gradient is that of all uses.
    Tensors that the model keeps from a forward pass are copied without the graph behind them.

    Raises:
        UserError: The model cannot be copied, or parameters share some of their values only.
    """
    memo: dict[int, Any] = {}
    try:
        with _Detaching():
            for first, *others in _tied(unwrap(model)):
                memo |= dict.fromkeys(map(id, others), copy.deepcopy(first, memo))
            return copy.deepcopy(unwrap(model), memo)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the model cannot be copied: {brief(error)}") from error


class _Detaching(TorchFunctionMode):
    """Mode in which a tensor with a graph behind it is copied as the values that it has."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            return memo.setdefault(id(tensor), tensor.detach().clone())
        return function(*args, **(kwargs or {}))


def _tied(model: nn.Module) -> Iterator[list[Tensor]]:
    """Yield groups of parameters that share their values.

    Raises:
        UserError: Parameters share some of their values only, or in another shape.
    """
    parts: dict[int, dict[Hashable, dict[str, Tensor]]] = defaultdict(lambda: defaultdict(dict))
    for name, parameter in model.named_parameters():
        match memory(parameter):
            case (int(start), *_) as values:
                parts[start][values][name] = parameter
    for views in parts.values():
        yield from (list(same.values()) for same in views.values())
        if len(views) > 1:
            _check_apart([next(iter(same.items())) for same in views.values()])


def _check_apart(views: list[tuple[str, Tensor]]) -> None:
    """Check that views of one storage do not overlap, as those of a recurrent layer do not."""
    first = views[0][1]
    taken = torch.zeros(first.untyped_storage().nbytes() // first.itemsize, dtype=torch.bool)
    for name, view in views:
        place = taken.as_strided(view.shape, view.stride(), view.storage_offset())
        if place.any():
            raise UserError(
                f"{name} shares values with another parameter in another shape, and a copy would "
                "not: make one of them a function of the other, as in F.linear(x, weight.T)"
            )
        place.fill_(True)


def in_double(compute: Callable[[], T], again: Callable[[], object]) -> T:
    """Compute with a copy in double precision, also of a model that makes single precision itself.

    Args:
        compute: Function that runs the copy.
        again: Puts back what it changed; it is called before a second run, in which whatever the
            model makes in single precision is double.

    Raises:
        UserError: The model fails in both.
    """
    try:
        return compute()
    except UserError as error:
        if not isinstance(error.__cause__, RuntimeError):
            raise
    again()
    with _Doubling():
        return compute()


class _Doubling(TorchFunctionMode):
    """Mode in which tensors become double where single precision is asked for.

    A function that torch does not have in double precision runs in single precision.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = {name: _double(value) for name, value in (kwargs or {}).items()}
        if function is Tensor.float:
            return args[0].double()
        args = tuple(map(_double, args))
        try:
            result = function(*args, **kwargs)
        except NotImplementedError:
            result = function(*map(_single, args), **{n: _single(v) for n, v in kwargs.items()})
        single = isinstance(result, Tensor) and result.dtype == torch.float32
        return result.double() if single else result


def _double(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def _single(value: Any) -> Any:
    is_double = isinstance(value, Tensor) and value.dtype == torch.float64
    return value.to(torch.float32) if is_double else value


def settle_frozen_(scored: nn.Module) -> None:
    """Put normalisation in frozen parts into eval mode, so that its statistics stay, in place."""
    for part in scored.modules():
        parameters = list(part.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            for module in part.modules():
                if isinstance(module, _NormBase):
                    module.eval()


@torch.no_grad()
def rewind_(scored: nn.Module, model: nn.Module) -> None:
    """Give a working copy the values of `model` again."""
    originals = named_tensors(model)
    for name, tensor in named_tensors(scored).items():
        if name in originals:  # A model may make buffers as it runs.
            tensor.copy_(originals[name])


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a model, named as if nothing were wrapped."""
    return {
        prefix + name: tensor
        for prefix, module in named_modules(model)
        for name, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None
    }


def differentiable(scored: nn.Module) -> contextlib.AbstractContextManager[Any]:
    """Make the model differentiable in eval mode, and twice, inside the block.

    Recurrent layers are neither in cuDNN, which goes unused for a model that has any.
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in scored.modules())
    return torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext()


@contextlib.contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed torch, NumPy and Python, and put their states back at the end of the block."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    python, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(arrays)
