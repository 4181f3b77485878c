"""How a batch of any form meets a model: move it, run it, count it, take its loss."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.cost import count
from pipeline.errors import UserError

Batch = Any
"""Inputs and labels as a pair, or a mapping of the model's keyword arguments and "labels"."""

Batches = Iterable[Batch]
"""A list or a loader, read from the start each time; or an iterator, kept for the next time."""

Loss = Callable[[Any, Batch], Tensor]
"""From what the model returned and the batch to a scalar, the mean over the batch."""

LABELS = "labels"
IGNORED = -100


def cross_entropy(output: Any, batch: Batch) -> Tensor:
    """Mean cross-entropy of logits [..., classes] and labels [...] (-100 counts nowhere).

    Image models with logits [n, classes, ...] are understood as well. A model that returns a loss
    of its own, as those of transformers do when they are given labels, is taken at its word: it
    knows that a language model predicts the next token.

    Raises:
        UserError: the batch has no labels, or labels and logits do not fit.
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
    if scores.ndim > 2 and scores.shape[:-1] == labels.shape:  # a label per token
        scores = scores.flatten(0, -2)
        labels = labels.flatten()
    try:
        _check_range(labels, classes=scores.shape[1])
        return F.cross_entropy(scores, labels, ignore_index=IGNORED)
    except (IndexError, RuntimeError, ValueError) as error:
        raise UserError(
            f"labels {_shape(labels)} do not fit the model's output {_shape(scores)} "
            f"({one_line(error)}); give a loss of your own"
        ) from error


def _check_range(labels: Tensor, classes: int) -> None:
    """Raises IndexError: a label is no class. On a GPU such a label would end the process."""
    if not labels.is_floating_point():
        wrong = labels[((labels < 0) | (labels >= classes)) & (labels != IGNORED)]
        if len(wrong):
            raise IndexError(f"label {wrong[0]} is not one of {classes} classes")


def logits(output: Any) -> Tensor:
    """The tensor that a model returns, or the first of several ("logits" if it has a name).

    Raises:
        UserError: there is none.
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
    """What the model returns for the inputs of `batch`, and for the labels if it names them.

    Raises:
        UserError: it fails.
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
            f"the model fails on a batch: {type(error).__name__}: {one_line(error)}"
        ) from error


def size(batch: Batch) -> int:
    """Samples in a batch: length of its first tensor."""
    return len(next(_tensors(batch)))


def ones(batch: Batch) -> Batch:
    """One sample of the same form, with 1 in every floating-point input."""

    def one(tensor: Tensor) -> Tensor:
        first = tensor[:1] if tensor.ndim else tensor
        return torch.ones_like(first) if first.is_floating_point() else first

    return map_tensors(one, batch)


class Prepared:
    """Batches as a model takes them: checked, on its device, floats in its precision.

    Raises:
        UserError: on reading, if there is no batch or one is of another form.
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
    """Raises UserError: it is neither a pair nor a mapping, or holds no tensor or no sample."""
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
    """A batch with every tensor replaced."""
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


def one_line(error: Exception) -> str:
    """The beginning of its message."""
    return " ".join(str(error).split())[:200]
