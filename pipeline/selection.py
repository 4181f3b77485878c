"""The one rule that makes a mask from scores: keep the highest, exactly as many as asked.

Scores that are computed as they are read are never joined or sorted as a whole: the threshold is
narrowed down digit by digit, as radix selection does, until few are left to choose from. A float's
bits, read as an integer, are in the float's order.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.masks import INTEGERS, Bits, Mask

PIECE = 2**17
"""Weights at a time; a few such tensors fit the cache of a core."""

DIGIT = 16
FEW = 1 / 16
"""Of all streamed scores, how many are held at a time: for floats, a quarter byte a weight."""

Scores = Mapping[str, Tensor]
"""Score of every prunable weight by parameter name; higher means keep."""


class StreamedScores(Scores):
    """Scores that are computed when they are read, a piece at a time, and held nowhere."""

    @abstractmethod
    def pieces(self, name: str) -> Iterator[Tensor]:
        """Scores of the flattened weight, on the CPU, `PIECE` at a time."""


def keep_top(scores: Scores, density: float, within: Mask) -> Mask:
    """Keep exactly round(density * total) weights: those with the highest scores.

    Only weights that `within` keeps are candidates, so iterated masks are nested. Among equal
    scores at the threshold the first in parameter order, then in memory order, are kept. Besides
    its arguments and the mask, an eighth of a byte per weight, it needs little memory.

    Raises:
        UserError: a score is NaN, or the density keeps no weight or more than `within` has.
    """
    total, kept = within.total, within.kept
    count = kept_by(density, total, kept)
    candidates = within.keep if isinstance(within.keep, Bits) else Bits(within.keep)

    def pieces() -> Iterator[tuple[str, int, Tensor, Tensor | None]]:
        """Name, offset, scores, and which of them are candidates (all, if None)."""
        for name in candidates:
            start = 0
            for piece in _pieces(scores, name):
                stop = start + len(piece)
                chosen = None if kept == total else candidates.piece(name, start, stop)
                yield name, start, piece, chosen
                start = stop

    def of_candidates() -> Iterator[Tensor]:
        for name, _, piece, chosen in pieces():
            if chosen is not None:
                piece = _select(piece, chosen)
            if piece.sum().isnan() and piece.isnan().any():  # the sum takes a twentieth of the time
                raise UserError(
                    f"the score of {name} is NaN: the loss or its gradient overflows at these "
                    "weights"
                )
            yield piece

    few = round(FEW * total) if isinstance(scores, StreamedScores) else total
    threshold, ties = _threshold(of_candidates, kept, count, few)
    mask = Bits.full(candidates.shapes, False)
    for name, start, piece, chosen in pieces():
        top = piece > threshold
        if chosen is not None:
            top &= chosen
        if ties:
            equal = piece == threshold
            if chosen is not None:
                equal &= chosen
            first = equal.nonzero().flatten()[:ties]
            top[first] = True
            ties -= len(first)
        mask.set_piece(name, start, top)
    return Mask(mask)


def kept_by(density: float, total: int, most: int) -> int:
    """How many of `total` weights a density keeps. Raises UserError: none, or above `most`."""
    count = round(density * total)
    if not 0 < count <= most:
        raise UserError(
            f"density {density:g} keeps {count} of {total} weights; "
            f"between 1 and {most} can be kept here"
        )
    return count


def _pieces(scores: Scores, name: str) -> Iterator[Tensor]:
    """In single or double precision, on the CPU."""
    if isinstance(scores, StreamedScores):
        parts = scores.pieces(name)
    else:
        parts = iter(scores[name].detach().flatten().cpu().split(PIECE))
    for piece in parts:
        yield piece.to(torch.promote_types(piece.dtype, torch.float32))


def _select(values: Tensor, where: Tensor) -> Tensor:
    """`values[where]`, in a quarter of the time."""
    return torch.from_numpy(np.compress(where.numpy(), values.numpy()))


def _threshold(
    scores: Callable[[], Iterator[Tensor]], total: int, count: int, few: int
) -> tuple[float, int]:
    """The `count`-th largest score, and how many of the scores equal to it are among the largest.

    Args:
        scores: reads all `total` of them, each time anew.
        few: how many may be held at a time.
    """
    dtype = next(scores()).dtype
    width = 8 * dtype.itemsize
    # The first digit has the sign: it counts from the most negative one.
    shift, low, left = width, -(2 ** (DIGIT - 1)), total
    while left > few and shift:
        shift -= DIGIT
        histogram = torch.zeros(2**DIGIT, dtype=torch.int64)
        for piece in scores():
            digits = (_keys(piece) >> shift) - low
            if left < total:
                digits = _select(digits, (digits >= 0) & (digits < 2**DIGIT))
            histogram += torch.bincount(digits, minlength=2**DIGIT)
        above = histogram.flip(0).cumsum(0).flip(0)  # of this digit and higher ones
        digit = int((above >= count).nonzero()[-1])
        left = int(histogram[digit])
        count -= int(above[digit]) - left
        low = (low + digit) << DIGIT
    prefix = low >> DIGIT  # the threshold's digits so far, which `left` scores share
    if shift == 0:
        return _score(prefix, width), count
    rest, end = torch.empty(left, dtype=dtype).numpy(), 0  # many small parts would litter the heap
    for piece in scores():
        if shift < width:
            piece = _select(piece, _keys(piece) >> shift == prefix)
        rest[end : end + len(piece)] = piece.numpy()
        end += len(piece)
    rest.partition(len(rest) - count)
    threshold = rest[len(rest) - count]
    return float(threshold), count - int((rest[len(rest) - count :] > threshold).sum())


def _keys(scores: Tensor) -> Tensor:
    """Integers in the order of the scores: int32 of single, int64 of double precision."""
    bits = (scores + 0.0).view(INTEGERS[scores.element_size()])  # -0 becomes 0: they are equal
    return _flip(bits)


def _score(key: int, width: int) -> float:
    """The score with this key."""
    bits = _flip(torch.tensor(key, dtype=INTEGERS[width // 8]))
    return float(bits.view({32: torch.float32, 64: torch.float64}[width]))


def _flip(bits: Tensor) -> Tensor:
    """From bits to keys and back: negative floats grow with their bits, but downwards."""
    info = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (info.bits - 1)) & info.max)
