"""Losses, given as anybody writes them, and what they look at in what a model returned."""

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autos.errors import UserError, brief
from autos.network.batches.forms import (
    LABELS,
    NONE,
    Batch,
    described,
    form_of,
    parts_of,
    tensors_in,
)

Loss = Callable[[Any, Batch], Tensor]
"""Function of what the model returned and of the batch, to a scalar, the mean over the batch."""

IGNORED = -100
"""Label of an image or token that does not count."""

TARGETS = ("target", "targets", "label", "labels", "y", "y_true", "true", "truth", "ground_truth")
"""Names of the second argument of a loss that takes labels and not the batch."""

NUMBERS = "for numbers give a loss such as torch.nn.functional.mse_loss"
SEVERAL = (
    "for several labels per sample give a loss such as "
    "torch.nn.functional.binary_cross_entropy_with_logits, and labels as floats"
)
"""What to do where labels are no classes."""

SUM_TOLERANCE = 1e-2
"""Distance from 1 of a sum of class probabilities, which may come from half precision."""


def cross_entropy(output: Any, batch: Batch) -> Tensor:
    """Compute the mean cross-entropy of logits [n, classes, ...] and labels [n, ...].

    Logits and labels are read as `torch.nn.functional.cross_entropy` reads them; labels of -100
    count nowhere, and floating-point labels in the shape of the logits are class probabilities.
    Only where torch refuses it, logits [n, ..., classes] are read with a label [n, ...] per token.
    A model that returns a loss of its own, as those of transformers do when they are given labels,
    is taken at its word: it knows that a language model predicts the next token.

    Args:
        output: What the model returned.
        batch: The batch that it returned this for, with labels.

    Raises:
        UserError: The batch has no labels, or labels and logits do not fit.
    """
    if isinstance(own := _named(output, "loss"), Tensor):
        return own
    labels, scores = labels_of(batch), logits(output)
    if not isinstance(labels, Tensor):
        raise UserError(f"labels are {described(labels)}; expected a tensor, or give a loss")
    shapes = f"labels {described(labels)} do not fit the model's output {described(scores)}"
    if scores.ndim > 1 and labels.shape == scores.shape[:-1] != scores.shape[:1] + scores.shape[2:]:
        scores, labels = scores.flatten(0, -2), labels.flatten()  # There is a label per token.
    if problem := _misfit(scores, labels):
        raise UserError(f"{shapes}: {problem}")
    try:
        return F.cross_entropy(scores, labels, ignore_index=IGNORED)
    except (IndexError, RuntimeError, ValueError) as error:
        raise UserError(f"{shapes} ({brief(error)}); give a loss of your own") from error


def _misfit(scores: Tensor, labels: Tensor) -> str | None:
    """Say why torch's cross-entropy of these labels is not what anybody wants, if it is not."""
    if scores.ndim == 0 or (scores.ndim == 1 and labels.ndim) or scores.shape[1:2] == (1,):
        return (
            f"one output per sample is no choice of classes: {NUMBERS}, and for two classes "
            "torch.nn.functional.binary_cross_entropy_with_logits"
        )
    if labels.is_floating_point():
        if labels.shape != scores.shape:
            return f"labels are {labels.dtype}, and classes integers; {NUMBERS}"
        if labels.numel() and not _are_probabilities(labels):
            return f"they are no class probabilities, which add up to 1; {NUMBERS}; {SEVERAL}"
        return None
    if labels.dtype not in (torch.long, torch.uint8):
        return f"labels are {labels.dtype}; cross-entropy takes torch.int64: give labels.long()"
    if labels.shape == scores.shape and scores.ndim > 1:
        return SEVERAL
    classes = scores.shape[min(1, scores.ndim - 1)]
    # On a GPU, torch would end the process for a label that is no class.
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORED)]
    return f"label {wrong[0]} is not one of {classes} classes" if len(wrong) else None


def _are_probabilities(labels: Tensor) -> bool:
    """Tell whether labels [n, classes, ...] are shares that add up to 1 over the classes."""
    sums = labels.sum(dim=1)
    return bool(labels.min() >= 0) and bool(((sums - 1).abs() <= SUM_TOLERANCE).all())


def as_loss(loss: Any) -> Loss:
    """Return a loss as a function of what the model returned and of the batch.

    What its second argument is, is seen from its signature. It is the labels where it is called
    "target", "labels", "y" or the like, as in `torch.nn.functional`, and in a module, such as
    `nn.CrossEntropyLoss(weight)`, unless it is called "batch"; the first is then the logits that
    `logits` finds. Otherwise it is the batch. A module is copied, and the copy follows the logits'
    device and precision.

    Raises:
        UserError: It is no function of two arguments, or a module that sums over samples; or, when
            it is called, it fails.
    """
    return loss if loss is cross_entropy or isinstance(loss, _Loss) else _Loss(loss)


class _Loss:
    """Any loss, called with what the model returned and with the batch."""

    def __init__(self, loss: Any) -> None:
        name = getattr(loss, "__name__", type(loss).__name__)
        if isinstance(loss, type):
            raise UserError(f"the loss {name} is a class: make one, as in {name}()")
        self.takes_labels = _takes_labels(loss, name)
        reduction = getattr(loss, "reduction", "mean")
        if self.takes_labels and reduction in ("sum", "none"):
            raise UserError(
                f"the loss {name} has reduction={reduction!r}: give one with the mean over samples"
            )
        self.name = name
        self.function = copy.deepcopy(loss) if isinstance(loss, nn.Module) else loss

    def __call__(self, output: Any, batch: Batch) -> Tensor:
        if not self.takes_labels:
            return self._call(output, batch)
        scores, labels = logits(output), labels_of(batch)
        if isinstance(self.function, nn.Module):
            self.function.to(scores.device, scores.dtype)
        with warnings.catch_warnings():
            # Torch would go on with every output against every label.
            warnings.filterwarnings("error", message="Using a target size")
            return self._call(scores, labels)

    def _call(self, output: Any, against: Any) -> Tensor:
        try:
            return self.function(output, against)
        except UserError:
            raise
        except Exception as error:
            shapes = f" of output {described(output)} and labels {described(against)}"
            raise UserError(
                f"the loss {self.name}{shapes if self.takes_labels else ''} fails: "
                f"{type(error).__name__}: {brief(error)}"
            ) from error


def _takes_labels(loss: Any, name: str) -> bool:
    """Tell whether the second argument of a loss is the labels and not the batch.

    Raises:
        UserError: It is no function of two arguments.
    """
    module = isinstance(loss, nn.Module)
    try:
        parameters = list(inspect.signature(loss.forward if module else loss).parameters.values())
    except (TypeError, ValueError):
        raise UserError(
            f"the loss {name} is no function whose arguments can be seen: give a function of "
            "(output, batch) that calls it"
        ) from None
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    required = [p for p in parameters if p.default is p.empty]
    named = [p for p in required if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    few = len(places) < 2 and not several
    if few or len(named) > 2 or any(p.kind is p.KEYWORD_ONLY for p in named):
        raise UserError(
            f"the loss {name} takes ({', '.join(p.name for p in parameters)}): give a function of "
            "(output, target) or (output, batch)"
        )
    second = places[1].name if len(places) > 1 else ""
    return second != "batch" and (module or second.lower().strip("_") in TARGETS)


def labels_of(batch: Batch) -> Any:
    """Return the labels of a batch.

    Raises:
        UserError: It has none.
    """
    _, labels = parts_of(batch)
    if labels is not NONE:
        return labels
    form = form_of(batch)
    names = ", ".join(map(str, form)) if isinstance(form, Mapping) else described(form)
    raise UserError(f"a batch has no {LABELS!r}, only {names}; give a loss")


def logits(output: Any) -> Tensor:
    """Return the logits in what a model returned.

    They are the output itself, what it holds under the name "logits", or its first floating-point
    tensor.

    Raises:
        UserError: The output holds no such tensor.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(named := _named(output, "logits"), Tensor):
        return named
    for tensor in tensors_in(output):
        if tensor.is_floating_point():
            return tensor
    raise UserError(f"the model returns a {type(output).__name__} without tensors; give a loss")


def total(output: Any) -> Tensor:
    """Sum all floating-point tensors in what a model returned, but not a loss of its own.

    Raises:
        UserError: The output holds no such tensor.
    """
    own = _named(output, "loss")
    sums = [_sum(t) for t in tensors_in(output) if t.is_floating_point() and t is not own]
    if not sums:
        raise UserError(f"the model returns a {type(output).__name__} without tensors of floats")
    return sum(sums[1:], sums[0])


def _sum(tensor: Tensor) -> Tensor:
    """Sum a tensor of any layout; torch does not sum all nested ones."""
    parts = tensor.unbind() if tensor.is_nested else (tensor,)
    return torch.stack([part.sum() for part in parts]).sum() if len(parts) > 1 else parts[0].sum()


def _named(value: Any, name: str) -> Any:
    """Return what stands under a name in a mapping or an object, or None."""
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
