"""The one way to a mask: any model, any method, exactly the density that is asked for."""

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from pipeline.batches import Batches, Loss, cross_entropy
from pipeline.budget import Budget
from pipeline.compute import Hardware
from pipeline.cost import counting
from pipeline.criterion import Predicts, predicted
from pipeline.errors import UserError
from pipeline.gradients import finite
from pipeline.masks import Mask
from pipeline.method import Context, Found, Method
from pipeline.prunable import prunable, unwrap
from pipeline.recipes import TrainConfig
from pipeline.working_copy import named_tensors, random_state

PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class EmptyLayerWarning(UserWarning):
    """A mask keeps nothing in some layer, so that no signal passes through it."""


def prune(model: nn.Module, method: Method | Predicts, batches: Batches, **options: Any) -> Mask:
    """The mask that `find` finds, with the same arguments.

    Raises, warns: as `find`.
    """
    return find(model, method, batches, **options).mask


def find(
    model: nn.Module,
    method: Method | Predicts,
    batches: Batches,
    *,
    density: float,
    seed: int = 0,
    loss: Loss = cross_entropy,
    settings: Mapping[str, Any] | None = None,
    recipe: TrainConfig | None = None,
    hardware: Hardware | None = None,
) -> Found:
    """Find the weights of `model` that `method` would keep, and where to train on from.

    The model is left untouched to the last bit, and so is the random state: scores are taken and
    networks trained on a copy, in single precision unless all weights are in double or the method
    asks for it. The model may be on any device, compiled or wrapped. In which of train and eval
    mode it is scored is up to the caller, unless the method says otherwise; trained it is in train
    mode.

    Args:
        model: any network with linear or convolution layers.
        method: an `AutoS` or `Predictor`, an entry of `METHODS`, or your own.
        batches: (inputs [n, ...], labels [n]) pairs, or dictionaries of the model's arguments
            and "labels"; a list or a loader. A few to score on; for a method that trains, all of
            them, read once an epoch.
        density: fraction of the prunable weights to keep, in (0, 1].
        seed: of whatever is drawn at random, dropout and a loader's order included.
        loss: of the model's output and a batch, the mean over its samples. Cross-entropy, unless
            the model returns a loss of its own.
        settings: hyperparameters of the method; those not named keep their defaults.
        recipe: how a method that trains does so; batches have their size and augmentation already.
        hardware: that it trains on.

    Returns:
        What was found, with a mask that keeps exactly round(density * n) of n weights. Where a
        method prunes in several rounds, each keeps a subset of the one before.

    Raises:
        UserError: no weight can be kept, a weight, score or loss cannot be used, a batch is of
            the wrong form, a setting is wrong, or a method that trains has no recipe.

    Warns:
        EmptyLayerWarning: names the layers of which nothing is kept.
    """
    if not 0 < density <= 1:
        raise UserError(f"the density is above 0 and at most 1, not {density:g}")
    if not isinstance(method, Method):
        method = predicted(method)
    check_prunable(model)
    context = Context(
        batches,
        density,
        torch.Generator().manual_seed(seed),
        loss,
        method.settings.validated(settings or {}, "settings"),
        Budget(recipe, batches, loss, seed, hardware or Hardware()) if recipe else None,
        seed,
    )
    # Out of inference mode gradients are on, too.
    with torch.inference_mode(False), random_state(seed), counting() as cost:
        found = replace(method.find(model, context), cost=cost())
    _warn(found.mask, density)
    return found


def _warn(mask: Mask, density: float) -> None:
    """In the name of the code that called this module."""
    if empty := mask.empty_layers():
        here = sum(frame.filename == __file__ for frame in inspect.stack(0))
        warnings.warn(
            f"density {density:g} keeps nothing in {', '.join(empty)}: no signal passes there",
            EmptyLayerWarning,
            stacklevel=here + 1,
        )


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
