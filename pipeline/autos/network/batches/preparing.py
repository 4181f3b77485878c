"""Batches as a model takes them: checked, on its device, in its precision."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from autos.errors import UserError, brief
from autos.network.batches.forms import (
    LABELS,
    NONE,
    Batch,
    Batches,
    described,
    form_of,
    length,
    map_tensors,
    movable,
    tensors_in,
)


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
            raise UserError(f"batches must be a list or a loader, not {described(batches)}")
        self.batches = batches
        self.device, self.dtype = device, dtype

    def __iter__(self) -> Iterator[Batch]:
        if isinstance(self.batches, Iterator):
            self.batches = list(read(self.batches))
        empty = True
        for batch in read(self.batches):
            yield prepared(batch, self.device, self.dtype)
            empty = False
        if empty:
            raise UserError("there are no batches to score on")


def read(batches: Batches) -> Iterator[Batch]:
    """Yield the batches.

    Raises:
        UserError: The loader fails.
    """
    try:
        iterator = iter(batches)
        while (batch := next(iterator, NONE)) is not NONE:
            yield batch
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"the batches cannot be read: {type(error).__name__}: {brief(error)}"
        ) from error


def prepared(batch: Batch, device: torch.device, dtype: torch.dtype) -> Batch:
    """Return a batch as a model takes it: on its device, floats in its precision, no arrays.

    Args:
        batch: The batch, which is left untouched.
        device: Device of the model.
        dtype: Precision of the model.

    Raises:
        UserError: The batch is of a form that no model takes, or has no samples.
    """

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype if tensor.is_floating_point() else None)

    moved = map_tensors(move, batch, lambda value: value.to(device))
    _check(moved)
    return moved


def _check(batch: Batch) -> None:
    """Check that a batch has a form that models take, or raise.

    Raises:
        UserError: The batch is neither a pair nor a mapping, or holds no tensor or no sample.
    """
    form = form_of(batch)
    if isinstance(form, (tuple, list)):
        right = len(form) == 2
    else:
        right = isinstance(form, Mapping) or movable(form)
    if not right:
        raise UserError(
            f"a batch is {described(batch)}; expected (inputs, labels) or a dictionary of the "
            f"model's inputs and {LABELS!r}; several inputs make a tuple of their own, "
            "((x, mask), labels)"
        )
    if not length(batch):
        first = next(tensors_in(batch), None)
        raise UserError(f"a batch holds {described(first)}; expected tensors [n, ...] with n > 0")
