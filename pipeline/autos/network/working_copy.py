"""Copies of a model to score or train, so that the model itself stays untouched."""

import contextlib
import copy
import random
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from autos.errors import UserError, brief
from autos.network.prunable import named_modules, prunable, unwrap


def working_copy(model: nn.Module, *, double: bool = False) -> nn.Module:
    """Make an uncompiled copy in one precision, whose prunable weights want a gradient.

    Args:
        model: The model, which is left untouched.
        double: Whether the copy is in double precision even if not all prunable weights are;
            otherwise it is in single precision then.

    Raises:
        UserError: The model cannot be copied.
    """
    try:
        scored = copy.deepcopy(unwrap(model))
    except Exception as error:
        raise UserError(f"the model cannot be copied: {brief(error)}") from error
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
