"""The one way to a mask: any model, any method, exactly the density that is asked for."""

import inspect
import warnings
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from autos.compute import Hardware
from autos.config import Config
from autos.errors import UserError, unknown
from autos.masks.mask import Mask
from autos.methods import METHODS
from autos.methods.base import Context, Found, Method
from autos.network.batches import Batches, Loss, as_loss, cross_entropy, seeded
from autos.network.cost import counting
from autos.network.gradients import finite
from autos.network.prunable import (
    Selectors,
    check_plain,
    chosen,
    coverage,
    frozen,
    leaving_out,
    prunable,
    slots,
    uncovered,
    unwrap,
)
from autos.network.working_copy import named_tensors, random_state
from autos.predictors import Predictor
from autos.training.budget import Budget
from autos.training.recipe import TrainConfig

PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types of weights that can be pruned."""


NAMED = 3
"""Number of weights that a warning names."""

WHOLE = 0.99
"""Share of a network's weights from which on a mask counts as one of the whole network."""


class EmptyLayerWarning(UserWarning):
    """A mask keeps nothing in some layer, so that no signal passes through it."""


class CoverageWarning(UserWarning):
    """A mask leaves weights of the network out, which are of layers that cannot be pruned."""


class FrozenWarning(UserWarning):
    """A mask leaves weights of the network out, since they do not want a gradient."""


def prune(
    model: nn.Module, method: Method[Any] | Predictor | str, batches: Batches, **options: Any
) -> Mask:
    """Return the mask of the weights of `model` that `method` would keep.

    The mask is `find(...).mask`: `find` documents the options, of which `density` must be given,
    and the errors and warnings.

    Example:
        >>> import torch
        >>> from autos import METHODS, prune
        >>> network = torch.nn.Linear(8, 4)
        >>> batches = [(torch.randn(32, 8), torch.randint(4, (32,)))]
        >>> mask = prune(network, METHODS["snip"], batches, density=0.5)
        >>> mask.kept
        16
        >>> mask.apply_(network)
        >>> int(network.weight.count_nonzero())
        16
    """
    return find(model, method, batches, **options).mask


def find(
    model: nn.Module,
    method: Method[Any] | Predictor | str,
    batches: Batches,
    *,
    density: float,
    seed: int = 0,
    loss: Loss = cross_entropy,
    settings: Mapping[str, Any] | None = None,
    recipe: TrainConfig | Mapping[str, Any] | None = None,
    hardware: Hardware | Mapping[str, Any] | None = None,
    include: Selectors | None = None,
    exclude: Selectors = (),
) -> Found:
    """Find the weights of `model` that `method` would keep, and where to train on from.

    The model is left untouched to the last bit, and so is the random state: scores are taken and
    networks trained on a copy, in single precision unless all weights are in double or the method
    asks for it. The model may be on any device, compiled or wrapped. The caller decides whether it
    is scored in train or in eval mode, unless the method says otherwise; it is trained in train
    mode.

    Args:
        model: Any network with layers that can be pruned, which `autos.network.prunable` names.
        method: An `AutoS` or `PaperPredictor`, an entry of `METHODS` or its name, or a `Method` of
            your own.
        batches: Pairs of inputs [n, ...] and labels [n], or dictionaries of the model's arguments
            and "labels"; a list or a loader. A method that scores needs a few of them; a method
            that trains needs all of them, and reads them once an epoch.
        density: Fraction of the prunable weights to keep, in (0, 1].
        seed: Seed of whatever is drawn at random, dropout and a loader's order included.
        loss: Function of the model's output and a batch, or of logits and labels as the losses of
            torch are, the mean over the samples; `autos.network.batches.as_loss` tells them apart.
            The default is cross-entropy, unless the model returns a loss of its own.
        settings: Hyperparameters of the method; those not named keep their defaults.
        recipe: Recipe of a method that trains, or a mapping of its settings; batches have their
            size and augmentation already.
        hardware: Device and precision of a method that trains.
        include: The weights to prune: patterns of names ("head", "layer?.*.weight") and types of
            modules, each for all weights in what it means. None is all that want a gradient; frozen
            ones (`requires_grad` is False) are pruned only if they are included here.
        exclude: Weights to leave out of these, in the same form. What is left out stays whole, is
            not in the mask, and does not count for the density.

    Returns:
        What was found, with a mask that keeps exactly round(density * n) of n weights. Where a
        method prunes in several rounds, each keeps a subset of the one before.

    Raises:
        UserError: No weight can be kept, a weight, score or loss cannot be used, a batch is of the
            wrong form, a setting is wrong, `include` or `exclude` means nothing in the model, or a
            method that trains has no recipe or is to prune frozen weights.

    Warns:
        EmptyLayerWarning: Nothing is kept of the layers that it names.
        CoverageWarning: Layers that cannot be pruned hold more than 1 % of the network's weights.
        FrozenWarning: Frozen weights are left out.

    Example:
        >>> import torch
        >>> from autos import METHODS, TrainConfig, find
        >>> network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 4))
        >>> loader = [(torch.randn(32, 8), torch.randint(4, (32,))) for _ in range(4)]
        >>> recipe = TrainConfig(
        ...     epochs=2, batch_size=32, optimizer="sgd", lr=0.1, schedule="cosine"
        ... )
        >>> found = find(network, METHODS["rigl"], loader, density=0.25, recipe=recipe)
        >>> found.mask.kept, found.trained, found.cost.epochs(samples=128)
        (48, True, 2.0)
    """
    if not 0 < density <= 1:
        raise UserError(f"the density is above 0 and at most 1, not {density:g}")
    method = _method(method)
    recipe = _settings(TrainConfig, recipe, "recipe")
    hardware = _settings(Hardware, hardware, "hardware")
    check_plain(unwrap(model))
    left_out, still = _left_out(model, include, exclude)
    with leaving_out(left_out):
        check_prunable(model)
    if still:
        _warn(
            f"{_named(still)} {'is' if len(still) == 1 else 'are'} frozen (requires_grad is False) "
            "and left out: `include` prunes them all the same",
            FrozenWarning,
        )
    loss = as_loss(loss)
    context = Context(
        batches,
        density,
        torch.Generator().manual_seed(seed),
        loss,
        method.settings.validated(settings or {}, "settings"),
        Budget(recipe, batches, loss, seed, hardware or Hardware()) if recipe else None,
        seed,
    )
    # Leaving inference mode turns gradients on as well.
    with (
        torch.inference_mode(False),
        random_state(seed),
        seeded(batches, seed),
        leaving_out(left_out),
        counting() as cost,
    ):
        found, share = method.find(model, context), coverage(model)
        found = replace(found, cost=cost(), coverage=share)
        others = {name: w for name, w in uncovered(model).items() if name not in left_out}
    if empty := found.mask.empty_layers():
        _warn(
            f"density {density:g} keeps nothing in {', '.join(empty)}: no signal passes there",
            EmptyLayerWarning,
        )
    if sum(weight.numel() for weight in others.values()) > (1 - WHOLE) * found.mask.total / share:
        largest = sorted(others, key=lambda name: -others[name].numel())
        _warn(
            f"the mask covers {100 * share:.1f} % of the network's weights: "
            f"{_named(largest)} stay whole; autos.network.prunable.LAYERS tells and takes what can "
            "be pruned",
            CoverageWarning,
        )
    return found


def _method(given: Any) -> Method[Any]:
    """Return the method that is meant.

    Raises:
        UserError: It is none, and no name of one.
    """
    if isinstance(given, str):
        if given not in METHODS:
            raise UserError(unknown("method", given, METHODS))
        return METHODS[given]
    method = given if isinstance(given, type) else getattr(given, "criterion", given)
    if not isinstance(method, Method):
        what = f"the class {given.__name__}" if isinstance(given, type) else repr(given)[:80]
        raise UserError(
            f"the method is {what}; give an entry of METHODS, its name, or AutoS.load()"
        )
    return method


C = TypeVar("C", bound=Config)


def _settings(kind: type[C], given: Any, argument: str) -> C | None:
    """Return settings that are given as such or as a mapping.

    Raises:
        UserError: They are of another type, or not valid.
    """
    if given is None or isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise UserError(f"{argument} must be a {kind.__name__} or a dictionary, not {given!r:.80}")
    return kind.validated(dict(given), argument)


def _left_out(
    model: nn.Module, include: Selectors | None, exclude: Selectors
) -> tuple[set[str], list[str]]:
    """Return the names of the weights that are not to be pruned, and which of them are frozen.

    The second are those that the caller has not left out.
    """
    every = dict.fromkeys(name for name, *_ in slots(model))
    left_out = chosen(model, exclude, "exclude")
    still: list[str] = []
    if include is None:
        still = [name for name in every if name in frozen(model) - left_out]
        left_out |= set(still)
    else:
        left_out |= every.keys() - chosen(model, include, "include")
    if every and left_out == every.keys():
        raise UserError(
            "all prunable weights are frozen: set requires_grad, or name some in `include`"
            if still
            else "`include` and `exclude` leave no weight to prune"
        )
    return left_out, still


def _named(names: Collection[str]) -> str:
    """List the first few names."""
    first = ", ".join(list(names)[:NAMED])
    return f"{first} and {len(names) - NAMED} more" if len(names) > NAMED else first


def _warn(message: str, kind: type[Warning]) -> None:
    """Warn in the name of the code that called this module."""
    here = sum(frame.filename == __file__ for frame in inspect.stack(0))
    warnings.warn(message, kind, stacklevel=here + 1)


def check_prunable(model: nn.Module) -> None:
    """Refuse a model that cannot be pruned.

    Raises:
        UserError: There is no weight to prune, or a weight has no finite values.
    """
    inner = unwrap(model)
    check_plain(inner)
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
            raise UserError(
                f"{name} is {weight.dtype}; weights in half to double precision count"
                + ("" if weight.is_complex() else ": prune the network before it is quantised")
            )
        if not finite(weight):
            raise UserError(f"{name} is NaN or infinite in places")
    if not weights:
        raise UserError(
            f"{type(inner).__name__} has no prunable weight: no linear, convolution, recurrent or "
            "attention layer; autos.network.prunable.LAYERS takes layers of your own"
        )
