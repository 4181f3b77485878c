"""From a criterion to a mask: score a copy of the model, keep the best, in one round or several."""

import contextlib
import copy
import random
import warnings
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.batches import Batches, Loss, Prepared, cross_entropy, one_line
from pipeline.criterion import Context, Criterion
from pipeline.errors import UserError
from pipeline.gradients import finite
from pipeline.masks import Mask
from pipeline.prunable import named_modules, prunable, unwrap
from pipeline.schedules import exponential
from pipeline.selection import keep_top

PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class HasCriterion(Protocol):
    """A trained predictor, for example."""

    @property
    def criterion(self) -> Criterion: ...


class EmptyLayerWarning(UserWarning):
    """A mask keeps nothing in some layer, so that no signal passes through it."""


def prune(
    model: nn.Module,
    criterion: Criterion | HasCriterion,
    batches: Batches,
    *,
    density: float,
    seed: int = 0,
    loss: Loss = cross_entropy,
) -> Mask:
    """Find the weights of `model` that `criterion` would keep.

    The model is left untouched to the last bit, and so is the random state: scores are taken on
    a copy, in single precision unless all weights are in double or the criterion asks for it. The
    model may be on any device, compiled or wrapped. In which of train and eval mode it is scored
    is up to the caller, unless the criterion says otherwise.

    Args:
        model: any network with linear or convolution layers.
        criterion: a `Predictor`, an entry of `CRITERIA`, or your own.
        batches: (inputs [n, ...], labels [n]) pairs, or dictionaries of the model's arguments
            and "labels"; a list or a loader.
        density: fraction of the prunable weights to keep, in (0, 1].
        seed: of whatever is drawn at random, dropout and a loader's order included.
        loss: of the model's output and a batch, the mean over its samples. Cross-entropy, unless
            the model returns a loss of its own.

    Returns:
        A mask that keeps exactly round(density * n) of n weights; over several rounds the
        density falls exponentially and each round keeps a subset of the one before.

    Raises:
        UserError: no weight can be kept, a weight, score or loss cannot be used, or a batch is of
            the wrong form.

    Warns:
        EmptyLayerWarning: names the layers of which nothing is kept.
    """
    if not 0 < density <= 1:
        raise UserError(f"the density is above 0 and at most 1, not {density:g}")
    if not isinstance(criterion, Criterion):
        criterion = criterion.criterion
    check_prunable(model)
    mask = Mask.dense(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.inference_mode(False):  # which also turns gradients on
        scored = scoring_copy(model, double=criterion.double)
        if criterion.batch_norm is not None:
            scored.train(criterion.batch_norm == "train")
        weight = next(iter(prunable(scored).values()))
        prepared = Prepared(batches, device=weight.device, dtype=weight.dtype)
        context = Context(prepared, density, generator, loss)
        for index, target in enumerate(exponential(density, criterion.rounds)):
            if index:
                rewind_(scored, model)
                mask.apply_(scored)
            with random_state(seed), torch.autocast(weight.device.type, enabled=False):
                # Within: scores may be computed only when they are read.
                mask = keep_top(criterion.score(scored, context), target, within=mask)
    empty = mask.empty_layers()
    if empty:
        warnings.warn(
            f"density {density:g} keeps nothing in {', '.join(empty)}: no signal passes there",
            EmptyLayerWarning,
            stacklevel=2,
        )
    return mask


def check_prunable(model: nn.Module) -> None:
    """Raises UserError: there is no weight to prune, or one without finite values."""
    inner = unwrap(model)
    for name, tensor in named_tensors(model).items():
        if nn.parameter.is_lazy(tensor):
            raise UserError(f"{name} is not initialised yet: run one batch through the model first")
        if tensor.is_meta:
            raise UserError(
                f"{name} is on the meta device and has no values: give the model weights first, "
                "for example with model.to_empty(device='cpu') and load_state_dict"
            )
    weights = prunable(model)
    for name, weight in weights.items():
        if weight.dtype not in PRECISIONS:
            raise UserError(f"{name} is {weight.dtype}; weights in half to double precision count")
        if not finite(weight):
            raise UserError(f"{name} is NaN or infinite in places")
    if not weights:
        raise UserError(
            f"{type(inner).__name__} has no prunable weight: no linear, convolution or attention "
            "layer"
        )


def scoring_copy(model: nn.Module, *, double: bool) -> nn.Module:
    """An uncompiled copy in one precision, single or double; prunable weights want a gradient.

    Raises:
        UserError: the model cannot be copied.
    """
    try:
        scored = copy.deepcopy(unwrap(model))
    except Exception as error:
        raise UserError(f"the model cannot be copied for scoring: {one_line(error)}") from error
    for module in list(scored.modules()):
        for name, child in module.named_children():
            setattr(module, name, unwrap(child))
        if hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable"):
            del module.forward  # compiled, and so bound to the original
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
    """Give a scoring copy the values of `model` again."""
    originals = named_tensors(model)
    for name, tensor in named_tensors(scored).items():
        if name in originals:  # a model may make buffers as it runs
            tensor.copy_(originals[name])


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, named as if nothing were wrapped."""
    return {
        prefix + name: tensor
        for prefix, module in named_modules(model)
        for name, tensor in (*module._parameters.items(), *module._buffers.items())
        if tensor is not None
    }


@contextlib.contextmanager
def random_state(seed: int) -> Iterator[None]:
    """Seed torch, NumPy and Python, and put their states back at the end."""
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
