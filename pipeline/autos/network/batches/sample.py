"""A sample of ones, for what depends on a network and not on data."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from autos.network.batches.forms import NONE, Batch, map_tensors, parts_of, size, tensors_in


def ones(batch: Batch) -> Batch:
    """Return a sample of a batch, with 1 in the place of every floating-point value.

    It is the first sample, if all inputs and labels have an axis of samples in front. Otherwise,
    as for a graph and its edges, a matrix between the samples, a single image, or sparse and
    nested tensors, the batch is kept whole.
    """
    cut = _has_samples(batch)

    def one(tensor: Tensor) -> Tensor:
        first = tensor[:1] if cut and tensor.ndim else tensor
        return _filled(first) if first.is_floating_point() else first

    return map_tensors(one, batch)


def _has_samples(batch: Batch) -> bool:
    """Tell whether the first axis of every tensor in a batch is that of the samples."""
    inputs, labels = parts_of(batch)
    tensors = list(tensors_in(inputs))
    given = [] if labels is NONE or labels is None else [labels]
    n = size(batch)
    return (
        _plain(inputs)
        and all(isinstance(part, Tensor) and part.ndim for part in given)
        and not any(part.is_nested or part.layout != torch.strided for part in tensors)
        and {len(part) for part in (*tensors, *given) if part.ndim} == {n}
        and not (len(tensors) > 1 and any(_between(part, n) for part in tensors))
    )


def _plain(value: Any) -> bool:
    """Tell whether all tensors in a value lie in mappings, tuples and lists."""
    if isinstance(value, Mapping):
        return all(map(_plain, value.values()))
    if isinstance(value, (tuple, list)) and not isinstance(value, PackedSequence):
        return all(map(_plain, value))
    return isinstance(value, Tensor) or not hasattr(value, "to")


def _between(tensor: Tensor, n: int) -> bool:
    """Tell whether a tensor may be a matrix between samples, such as the edges of a graph."""
    edges = tensor.is_floating_point() or tensor.dtype == torch.bool
    return edges and tensor.shape[:2] == (n, n)


@torch.no_grad()
def _filled(tensor: Tensor) -> Tensor:
    """Return ones in the shape of a tensor; of a sparse one, in the places where it has values."""
    if tensor.layout == torch.strided or tensor.is_nested:
        return torch.ones_like(tensor)
    filled = (tensor.coalesce() if tensor.layout == torch.sparse_coo else tensor).clone()
    filled.values().fill_(1)
    return filled
