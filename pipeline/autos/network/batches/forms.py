"""The forms that a batch has: what of it are the inputs, the labels, the tensors, the samples."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

Batch = Any
"""Inputs and labels as a pair, or a mapping of the model's keyword arguments and "labels".

A dataclass or named tuple of two fields is a pair, and one with a field "labels" a mapping. Any
other object with a method `to`, such as a batch of graphs, is the model's only argument, and its
labels are its attribute "labels" or "y".
"""

Batches = Iterable[Batch]
"""A list or a loader, read from the start each time; or an iterator, kept for the next time."""

LABELS = "labels"
"""Key of the labels in a batch that is a mapping."""

NONE = object()
"""Stands for the labels of a batch that has none."""


def form_of(batch: Batch) -> Any:
    """Return a batch as a pair or a mapping; an object of another kind stays what it is."""
    fields = _fields(batch)
    if fields is None:
        return batch
    if len(fields) == 2 and (LABELS in fields or not hasattr(batch, "to")):
        one, two = fields
        return (fields[two], fields[one]) if one == LABELS else (fields[one], fields[two])
    return fields if LABELS in fields else batch


def parts_of(batch: Batch) -> tuple[Any, Any]:
    """Return inputs and labels of a batch; these are `NONE` if it has none."""
    form = form_of(batch)
    if isinstance(form, Mapping):
        inputs = {name: part for name, part in form.items() if name != LABELS}
        return inputs, form.get(LABELS, NONE)
    if isinstance(form, (tuple, list)):
        return form[0], form[1] if len(form) == 2 else NONE
    found = (getattr(form, name, None) for name in (LABELS, "y"))
    return form, next((labels for labels in found if labels is not None), NONE)


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a dataclass or a named tuple by name; None for anything else."""
    if isinstance(value, (Mapping, PackedSequence)):
        return None
    if isinstance(value, tuple):
        return value._asdict() if hasattr(value, "_asdict") else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def size(batch: Batch) -> int:
    """Return the number of samples in a batch.

    It is the length of the inputs; where their lengths differ, that of the labels; and 1 if there
    is a single label.
    """
    return length(batch) or 0


def length(batch: Batch) -> int | None:
    """Return the number of samples in a batch, or None if it holds no tensor that tells it."""
    inputs, labels = parts_of(batch)
    lengths = list(_lengths(inputs))
    if not lengths:
        return next(_lengths(labels), None)
    if isinstance(labels, Tensor) and labels.ndim == 0:
        return 1
    if len(set(lengths)) > 1 and isinstance(labels, Tensor):
        return len(labels)
    return lengths[0]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in a batch, in a part of one, or in what a model returned."""
    for part in _leaves(value):
        yield part.data if isinstance(part, PackedSequence) else part


def _lengths(value: Any) -> Iterator[int]:
    """Yield the number of samples that each tensor in a value would have."""
    for part in _leaves(value):
        if isinstance(part, PackedSequence):
            yield int(part.batch_sizes[0])
        elif part.ndim:
            yield part.size(0)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the tensors and packed sequences in a value."""
    if isinstance(value, (Tensor, PackedSequence)):
        yield value
    elif isinstance(value, Mapping):
        yield from _leaves(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _leaves(part)
    elif (fields := _fields(value)) is not None:
        yield from _leaves(fields)
    elif movable(value):
        yield from _leaves(_attributes(value))


def map_tensors(
    function: Callable[[Tensor], Tensor],
    value: Any,
    place: Callable[[Any], Any] = lambda value: value,
) -> Any:
    """Return a batch, or a part of one, in which `function` has replaced every tensor.

    Mappings, lists, tuples, dataclasses, packed sequences and objects with a method `to` keep their
    type; arrays become tensors.

    Args:
        function: Function of a tensor.
        value: The batch, which is left untouched.
        place: Function that is applied to a copy of an object with a method `to`.
    """

    def of(part: Any) -> Any:
        return map_tensors(function, part, place)

    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, np.ndarray):
        return function(_from_array(value)) if value.dtype.kind in "biufc" else value
    if isinstance(value, PackedSequence):
        # The sizes stay on the CPU.
        data, sizes, order, back = value
        return PackedSequence(function(data), sizes, of(order), of(back))
    if isinstance(value, MutableMapping):
        twin: Any = copy.copy(value)
        for name, part in value.items():
            twin[name] = of(part)
        return twin
    if isinstance(value, Mapping):
        return {name: of(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        parts = tuple(map(of, value))
        return value._make(parts) if hasattr(value, "_make") else type(value)(parts)
    if movable(value) or _fields(value) is not None:
        twin = copy.copy(value)
        twin = place(twin) if movable(twin) else twin
        for name, part in (_fields(twin) or _attributes(twin)).items():
            object.__setattr__(twin, name, of(part))
        return twin
    return value


def movable(value: Any) -> bool:
    """Tell whether a value is an object that can be moved to a device, such as a graph."""
    kinds = (type, Tensor, PackedSequence, Mapping, tuple, list, nn.Module)
    return callable(getattr(value, "to", None)) and not isinstance(value, kinds)


def _attributes(value: Any) -> dict[str, Any]:
    """Return those attributes of an object that are tensors or mappings."""
    kinds = (Tensor, np.ndarray, MutableMapping)
    return {
        n: part for n, part in getattr(value, "__dict__", {}).items() if isinstance(part, kinds)
    }


def _from_array(array: np.ndarray) -> Tensor:
    """Copy an array of any byte order and memory layout."""
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def described(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(list(value.shape))
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"
