"""Sanity checks: does it matter which weights a method keeps, or only how many in each layer?

A method passes only if these make its networks clearly worse:

- `shuffle`: the kept positions are drawn anew within every layer, the weights stay.
- `invert`: the weights with the lowest scores are kept.

Other weights under the mask, and both (a random ticket), are up to whoever trains it: see
`pipeline.check_cells`.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.criterion import Criterion
from pipeline.masks import Mask
from pipeline.method import Context
from pipeline.selection import Scores, StreamedScores


def shuffle(mask: Mask, generator: torch.Generator) -> Mask:
    """Permute the mask within each weight: layer densities stay to the last weight."""
    return Mask(
        {
            name: keep.flatten()[torch.randperm(keep.numel(), generator=generator)].view(keep.shape)
            for name, keep in mask.keep.items()
        }
    )


def invert(criterion: Criterion) -> Criterion:
    """The criterion that keeps the lowest scores, in every round among what is left.

    Scores are negated. Their reciprocal, as in published code, is no inversion of signed scores
    and is NaN at 0. NaN stays NaN and is refused as ever; equal scores are kept in the same order
    either way.
    """

    def score(model: nn.Module, context: Context) -> Scores:
        scores = criterion.score(model, context)
        if isinstance(scores, StreamedScores):
            return _Negated(scores)
        return {name: -_signed(values) for name, values in scores.items()}

    return replace(criterion, score=score)


class _Negated(StreamedScores):
    """Negated piece by piece, as they are read."""

    def __init__(self, scores: StreamedScores) -> None:
        self.scores = scores

    def __getitem__(self, name: str) -> Tensor:
        return -_signed(self.scores[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def pieces(self, name: str) -> Iterator[Tensor]:
        for piece in self.scores.pieces(name):
            yield -_signed(piece)


def _signed(scores: Tensor) -> Tensor:
    """In at least single precision, as selection takes them: booleans have no negative."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
