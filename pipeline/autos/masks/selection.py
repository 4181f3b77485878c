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

from autos.errors import UserError
from autos.masks.attached import INTEGERS
from autos.masks.bits import Bits
from autos.masks.mask import Mask

PIECE = 2**17
"""Number of weights that are looked at together; a few such tensors fit the cache of a core."""

DIGIT = 16
"""Number of bits by which the search for the threshold goes on at a time."""

FEW = 1 / 16
"""Share of all streamed scores that is held together: for floats, a quarter byte a weight."""

Scores = Mapping[str, Tensor]
"""The score of every prunable weight by parameter name; a higher one means keep."""


class StreamedScores(Scores):
    """Scores that are computed when they are read, a piece at a time, and held nowhere."""

    @abstractmethod
    def pieces(self, name: str) -> Iterator[Tensor]:
        """Yield the scores of the flattened weight, on the CPU, `PIECE` of them at a time."""


def keep_top(scores: Scores, density: float, within: Mask) -> Mask:
    """Keep exactly round(density * total) weights: those with the highest scores.

    Only weights that `within` keeps are candidates, so iterated masks are nested. Among equal
    scores at the threshold the first in parameter order, then in memory order, are kept. Besides
    its arguments and the mask, an eighth of a byte per weight, it needs little memory.

    Args:
        scores: Scores of all weights that `within` knows.
        density: Fraction of all weights to keep, those that are pruned already included.
        within: Mask of the candidates.

    Raises:
        UserError: A score is NaN, or the density keeps no weight or more than `within` has.
    """
    total, kept = within.total, within.kept
    count = kept_by(density, total, kept)
    candidates = within.bits

    def pieces() -> Iterator[tuple[str, int, Tensor, Tensor | None]]:
        """Yield name, offset, scores, and which of them are candidates (None if all are)."""
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
            # The sum takes a twentieth of the time of looking at every score.
            if piece.sum().isnan() and piece.isnan().any():
                raise UserError(
                    f"the score of {name} is NaN: the loss or its gradient overflows at these "
                    "weights"
                )
            yield piece

    few = round(FEW * total) if isinstance(scores, StreamedScores) else total
    threshold, ties = _threshold(of_candidates, kept, count, few)
    bits = Bits.full(candidates.shapes, False)
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
        bits.set_piece(name, start, top)
    return Mask(bits)


def kept_by(density: float, total: int, most: int) -> int:
    """Return how many of `total` weights a density keeps.

    Raises:
        UserError: It keeps none, or more than `most`.
    """
    count = round(density * total)
    if not 0 < count <= most:
        raise UserError(
            f"density {density:g} keeps {count} of {total} weights; "
            f"between 1 and {most} can be kept here"
        )
    return count


def _pieces(scores: Scores, name: str) -> Iterator[Tensor]:
    """Yield pieces of the scores in single or double precision, on the CPU."""
    if isinstance(scores, StreamedScores):
        parts = scores.pieces(name)
    else:
        parts = iter(scores[name].detach().flatten().cpu().split(PIECE))
    for piece in parts:
        yield piece.to(torch.promote_types(piece.dtype, torch.float32))


def _select(values: Tensor, where: Tensor) -> Tensor:
    """Return `values[where]`, in a quarter of the time."""
    return torch.from_numpy(np.compress(where.numpy(), values.numpy()))


def _threshold(
    scores: Callable[[], Iterator[Tensor]], total: int, count: int, few: int
) -> tuple[float, int]:
    """Find the `count`-th largest score, and how many equal scores are among the largest.

    Args:
        scores: Reads all `total` scores, each time anew.
        total: Number of scores.
        count: Rank of the score that is looked for; 1 is the largest.
        few: Number of scores that may be held together.
    """
    dtype = next(scores()).dtype
    width = 8 * dtype.itemsize
    # The first digit has the sign, so it counts from the most negative one.
    shift, low, left = width, -(2 ** (DIGIT - 1)), total
    while left > few and shift:
        shift -= DIGIT
        histogram = torch.zeros(2**DIGIT, dtype=torch.int64)
        for piece in scores():
            digits = (_keys(piece) >> shift) - low
            if left < total:
                digits = _select(digits, (digits >= 0) & (digits < 2**DIGIT))
            histogram += torch.bincount(digits, minlength=2**DIGIT)
        above = histogram.flip(0).cumsum(0).flip(0)  # It counts this digit and all higher ones.
        digit = int((above >= count).nonzero()[-1])
        left = int(histogram[digit])
        count -= int(above[digit]) - left
        low = (low + digit) << DIGIT
    prefix = low >> DIGIT  # It is the threshold's digits so far, which `left` scores share.
    if shift == 0:
        return _score(prefix, width), count
    # Many small parts would litter the heap.
    rest, end = torch.empty(left, dtype=dtype).numpy(), 0
    for piece in scores():
        if shift < width:
            piece = _select(piece, _keys(piece) >> shift == prefix)
        rest[end : end + len(piece)] = piece.numpy()
        end += len(piece)
    rest.partition(len(rest) - count)
    threshold = rest[len(rest) - count]
    return float(threshold), count - int((rest[len(rest) - count :] > threshold).sum())


def _keys(scores: Tensor) -> Tensor:
    """Return integers in the order of the scores, int32 for float32 and int64 for float64."""
    bits = (scores + 0.0).view(INTEGERS[scores.element_size()])  # -0 becomes 0, its equal.
    return _flip(bits)


def _score(key: int, width: int) -> float:
    """Return the score with this key."""
    bits = _flip(torch.tensor(key, dtype=INTEGERS[width // 8]))
    return float(bits.view({32: torch.float32, 64: torch.float64}[width]))


def _flip(bits: Tensor) -> Tensor:
    """Turn bits into keys and back; the bits of negative floats grow downwards."""
    info = torch.iinfo(bits.dtype)
    return bits ^ ((bits >> (info.bits - 1)) & info.max)
