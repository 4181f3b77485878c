"""The one rule that makes a mask from scores: keep the highest, exactly as many as asked.

Scores are read in pieces and never joined or sorted as a whole. The threshold is found digit by
digit, as radix selection does: a float's bits, read as an integer, are in the float's order.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.masks import Bits, Mask

PIECE = 2**17
"""Weights at a time; a few such tensors fit the cache of a core."""

DIGIT = 16
FEW = 2**20
"""So many candidates are sorted rather than counted once more."""

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
    count = round(density * total)
    if not 0 < count <= kept:
        raise UserError(
            f"density {density:g} keeps {count} of {total} weights; "
            f"between 1 and {kept} can be kept here"
        )
    candidates = within.keep if isinstance(within.keep, Bits) else Bits(within.keep)
    everything = kept == total

    def pieces() -> Iterator[tuple[str, int, Tensor, Tensor | None]]:
        """Name, offset, keys of the candidates, and which they are (all, if None)."""
        for name in candidates:
            start = 0
            for piece in _pieces(scores, name):
                if piece.isnan().any():
                    raise UserError(
                        f"the score of {name} is NaN: the loss or its gradient overflows at these "
                        "weights"
                    )
                chosen = None
                if not everything:
                    chosen = candidates.piece(name, start, start + len(piece))
                    piece = piece[chosen]
                yield name, start, _keys(piece), chosen
                start += chosen.numel() if chosen is not None else len(piece)

    threshold, ties = _threshold(lambda: (keys for _, _, keys, _ in pieces()), count)
    mask = Bits.full(candidates.shapes, False)
    for name, start, keys, chosen in pieces():
        top = keys > threshold
        if ties:
            equal = (keys == threshold).nonzero().flatten()[:ties]
            top[equal] = True
            ties -= len(equal)
        if chosen is not None:
            chosen[chosen.clone()] = top
            top = chosen
        mask.set_piece(name, start, top)
    return Mask(mask)


def _pieces(scores: Scores, name: str) -> Iterator[Tensor]:
    if isinstance(scores, StreamedScores):
        yield from scores.pieces(name)
    else:
        yield from scores[name].detach().flatten().cpu().split(PIECE)


def _keys(scores: Tensor) -> Tensor:
    """Integers in the order of the scores: int32 of up to single, int64 of double precision."""
    wide = scores.dtype == torch.float64
    floats = scores + 0.0 if wide else scores.float() + 0.0  # -0 becomes 0: they are equal
    bits = floats.view(torch.int64 if wide else torch.int32)
    # Negative floats grow with their bits, but downwards.
    return bits ^ ((bits >> (63 if wide else 31)) & torch.iinfo(bits.dtype).max)


def _threshold(keys: Callable[[], Iterator[Tensor]], count: int) -> tuple[int, int]:
    """The `count`-th largest key, and how many of the keys equal to it are among the largest."""
    width = 8 * next(keys()).element_size()
    prefix: int | None = None  # the threshold's digits so far
    for shift in range(width - DIGIT, -1, -DIGIT):
        histogram = torch.zeros(2**DIGIT, dtype=torch.int64)
        for piece in keys():
            if prefix is not None:
                piece = piece[piece >> (shift + DIGIT) == prefix]
            # The first digit has the sign: it counts from the most negative one.
            digit = (piece >> shift) + 2 ** (DIGIT - 1) if prefix is None else piece >> shift
            histogram += torch.bincount(digit & (2**DIGIT - 1), minlength=2**DIGIT)
        above = histogram.flip(0).cumsum(0).flip(0)  # of this digit and higher ones
        digit = int((above >= count).nonzero()[-1])
        count -= int(above[digit] - histogram[digit])
        prefix = digit - 2 ** (DIGIT - 1) if prefix is None else (prefix << DIGIT) + digit
        if shift and histogram[digit] <= FEW:
            rest = torch.cat([piece[piece >> shift == prefix] for piece in keys()])
            threshold = int(rest.kthvalue(len(rest) - count + 1).values)
            return threshold, count - int((rest > threshold).sum())
    assert prefix is not None
    return prefix, count
