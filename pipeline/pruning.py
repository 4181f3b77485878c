"""From a criterion to a mask: score a copy of the model, keep the best, in one round or several."""

import contextlib
import copy
import math
import random
import warnings
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import nn

from pipeline.batches import Batches, Loss, Prepared, cross_entropy
from pipeline.criterion import Context, Criterion
from pipeline.errors import UserError
from pipeline.masks import Mask
from pipeline.prunable import prunable, unwrap
from pipeline.schedules import exponential
from pipeline.selection import keep_top


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
    a copy, in float32 where the model is in half precision. It may be on any device, compiled or
    wrapped. In which of train and eval mode it is scored is up to the caller, unless the criterion
    says otherwise.

    Args:
        model: any network with linear or convolution layers.
        criterion: a `Predictor`, an entry of `CRITERIA`, or your own.
        batches: (inputs [n, ...], labels [n]) pairs, or dictionaries of the model's arguments
            and "labels"; a list or a loader.
        density: fraction of the prunable weights to keep, in (0, 1].
        seed: of whatever is drawn at random, dropout and a loader's order included.
        loss: of the model's output and a batch, the mean over its samples.

    Returns:
        A mask that keeps exactly round(density * n) of n weights; over several rounds the
        density falls exponentially and each round keeps a subset of the one before.

    Raises:
        UserError: no weight can be kept, a weight, score or loss cannot be used, or a batch is of
            the wrong form.

    Warns:
        EmptyLayerWarning: names the layers of which nothing is kept.
    """
    if not isinstance(criterion, Criterion):
        criterion = criterion.criterion
    check_prunable(model)
    scored = scoring_copy(model, double=criterion.double)
    if criterion.batch_norm is not None:
        scored.train(criterion.batch_norm == "train")
    weight = next(iter(prunable(scored).values()))
    prepared = Prepared(batches, device=weight.device, dtype=weight.dtype)
    context = Context(prepared, density, torch.Generator().manual_seed(seed), loss)
    mask = Mask.dense(model)
    for index, target in enumerate(exponential(density, criterion.rounds)):
        if index:
            rewind_(scored, model)
            mask.apply_(scored)
        with random_state(seed):
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
    for name, tensor in (*inner.named_parameters(), *inner.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise UserError(f"{name} is not initialised yet: run one batch through the model first")
        if tensor.is_meta:
            raise UserError(
                f"{name} is on the meta device and has no values: give the model weights first, "
                "for example with model.to_empty(device='cpu') and load_state_dict"
            )
    weights = prunable(model)
    for name, weight in weights.items():
        if not torch.linalg.vector_norm(weight.detach(), ord=math.inf).isfinite():
            raise UserError(f"{name} is NaN or infinite in places")
    if not weights:
        raise UserError(
            f"{type(inner).__name__} has no prunable weight: no linear, convolution or attention "
            "layer"
        )


def scoring_copy(model: nn.Module, *, double: bool) -> nn.Module:
    """An uncompiled copy in single or double precision; all prunable weights want a gradient.

    Raises:
        UserError: the model cannot be copied.
    """
    try:
        scored = copy.deepcopy(unwrap(model))
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"the model cannot be copied for scoring: {' '.join(str(error).split())[:200]}"
        ) from None
    for module in list(scored.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch._dynamo.OptimizedModule):
                setattr(module, name, child._orig_mod)
    if double:
        scored.double()
    elif any(p.dtype in (torch.float16, torch.bfloat16) for p in scored.parameters()):
        scored.float()  # gradients in half precision underflow
    for weight in prunable(scored).values():
        weight.requires_grad_(True)
    return scored


@torch.no_grad()
def rewind_(scored: nn.Module, model: nn.Module) -> None:
    """Give a scoring copy the values of `model` again."""
    inner = unwrap(model)
    for mine, original in zip(
        (*scored.parameters(), *scored.buffers()),
        (*inner.parameters(), *inner.buffers()),
        strict=True,
    ):
        mine.copy_(original)


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
