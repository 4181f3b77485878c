"""How a batch of any form meets a model: move it, run it, count it, take its loss."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autos.errors import UserError, brief
from autos.network.cost import count

Batch = Any
"""Inputs and labels as a pair, or a mapping of the model's keyword arguments and "labels"."""

Batches = Iterable[Batch]
"""A list or a loader, read from the start each time; or an iterator, kept for the next time."""

Loss = Callable[[Any, Batch], Tensor]
"""Function of what the model returned and of the batch, to a scalar, the mean over the batch."""

LABELS = "labels"
"""Key of the labels in a batch that is a mapping."""

IGNORED = -100
"""Label of an image or token that does not count."""


def cross_entropy(output: Any, batch: Batch) -> Tensor:
    """Compute the mean cross-entropy of logits [..., classes] and labels [...].

    Labels of -100 count nowhere. Logits [n, classes, ...] with labels [n, ...] are understood as
    well. A model that returns a loss of its own, as those of transformers do when they are given
    labels, is taken at its word: it knows that a language model predicts the next token.

    Args:
        output: What the model returned.
        batch: The batch that it returned this for, with labels.

    Raises:
        UserError: The batch has no labels, or labels and logits do not fit.
    """
    if isinstance(output, Mapping) and isinstance(output.get("loss"), Tensor):
        return output["loss"]
    if isinstance(batch, Mapping):
        if LABELS not in batch:
            raise UserError(f"a batch has no {LABELS!r}, only {', '.join(batch)}; give a loss")
        labels = batch[LABELS]
    else:
        labels = batch[1]
    scores = logits(output)
    if not isinstance(labels, Tensor):
        raise UserError(f"labels are {_shape(labels)}; expected a tensor, or give a loss")
    if scores.ndim > 2 and scores.shape[:-1] == labels.shape:  # There is a label per token.
        scores = scores.flatten(0, -2)
        labels = labels.flatten()
    try:
        _check_range(labels, classes=scores.shape[1])
        return F.cross_entropy(scores, labels, ignore_index=IGNORED)
    except (IndexError, RuntimeError, ValueError) as error:
        raise UserError(
            f"labels {_shape(labels)} do not fit the model's output {_shape(scores)} "
            f"({brief(error)}); give a loss of your own"
        ) from error


def _check_range(labels: Tensor, classes: int) -> None:
    """Check that every label is a class; on a GPU, torch would end the process otherwise.

    Raises:
        IndexError: A label is no class.
    """
    if not labels.is_floating_point():
        wrong = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORED)]
        if len(wrong):
            raise IndexError(f"label {wrong[0]} is not one of {classes} classes")


def logits(output: Any) -> Tensor:
    """Return the logits in what a model returned.

    They are the output itself, what it holds under the name "logits", or its first tensor.

    Raises:
        UserError: The output holds no tensor.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        named = output.get("logits")
        candidates = [named] if named is not None else list(output.values())
    elif isinstance(output, (tuple, list)):
        candidates = list(output)
    else:
        candidates = [getattr(output, "logits", None)]
    for candidate in candidates:
        if isinstance(candidate, Tensor):
            return candidate
    raise UserError(f"the model returns a {type(output).__name__} without tensors; give a loss")


def run(model: nn.Module, batch: Batch) -> Any:
    """Run a model on the inputs of a batch, and on the labels if it has an argument for them.

    Returns:
        What the model returns.

    Raises:
        UserError: The model fails.
    """
    count(forward=size(batch))
    try:
        if isinstance(batch, Mapping):
            takes_labels = LABELS in inspect.signature(model.forward).parameters
            return model(**{k: v for k, v in batch.items() if k != LABELS or takes_labels})
        inputs = batch[0]
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, (tuple, list)) else model(inputs)
    except Exception as error:
        raise UserError(
            f"the model fails on a batch: {type(error).__name__}: {brief(error)}"
        ) from error


def size(batch: Batch) -> int:
    """Return the number of samples in a batch, which is the length of its first tensor."""
    return len(next(_tensors(batch)))


def ones(batch: Batch) -> Batch:
    """Return the first sample of a batch, with 1 in the place of every floating-point value."""

    def one(tensor: Tensor) -> Tensor:
        first = tensor[:1] if tensor.ndim else tensor
        return torch.ones_like(first) if first.is_floating_point() else first

    return map_tensors(one, batch)


class Prepared:
    """Batches as a model takes them: checked, on its device, floats in its precision.

    Args:
        batches: The batches, on any device and in any precision.
        device: Device of the model.
        dtype: Precision of the model.

    Raises:
        UserError: The batches are neither a list nor a loader; or, when they are read, there is no
            batch or one is of another form.
    """

    def __init__(self, batches: Batches, *, device: torch.device, dtype: torch.dtype) -> None:
        if not isinstance(batches, Iterable) or isinstance(batches, (str, Mapping)):
            raise UserError(f"batches must be a list or a loader, not {_shape(batches)}")
        self.batches = batches
        self.device, self.dtype = device, dtype

    def __iter__(self) -> Iterator[Batch]:
        if isinstance(self.batches, Iterator):
            self.batches = list(self.batches)
        empty = True
        for batch in self.batches:
            check(batch)
            yield map_tensors(self._move, batch)
            empty = False
        if empty:
            raise UserError("there are no batches to score on")

    def _move(self, tensor: Tensor) -> Tensor:
        dtype = self.dtype if tensor.is_floating_point() else None
        return tensor.to(self.device, dtype)


def check(batch: Batch) -> None:
    """Check that a batch has a form that models take, or raise.

    Raises:
        UserError: The batch is neither a pair nor a mapping, or holds no tensor or no sample.
    """
    pair = isinstance(batch, (tuple, list)) and len(batch) == 2
    if not pair and not isinstance(batch, Mapping):
        raise UserError(
            f"a batch is {_shape(batch)}; expected (inputs, labels) or a dictionary of the "
            f"model's inputs and {LABELS!r}"
        )
    first = next(_tensors(batch), None)
    if first is None or first.ndim == 0 or len(first) == 0:
        raise UserError(f"a batch holds {_shape(first)}; expected tensors [n, ...] with n > 0")


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Return a batch, or a part of one, in which `function` has replaced every tensor."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {name: map_tensors(function, part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return tuple(map_tensors(function, part) for part in value)
    return value


def _shape(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(list(value.shape))
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"
