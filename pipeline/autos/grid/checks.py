"""Sanity checks of a mask: what is lost if its positions, its weights, or its scores are others?

A method whose masks train as well when they are shuffled within the layers has found layer
densities and no more (Frankle et al., ICLR 2021; Su et al., NeurIPS 2020; Sreenivasan et al., Rare
Gems, NeurIPS 2022). These are the checks:

- `shuffle`: the kept positions are drawn anew within every layer, and the weights stay.
- `reinitialise`: the weights of each layer are permuted under the mask, which is a draw from their
  own distribution, whatever it is: signed constants stay signed constants.
- `random_ticket`: positions and weights are both drawn anew, as in the two checks above.
- `invert`: the weights with the lowest scores are kept.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autos.config import Config
from autos.grid.cell import Check
from autos.grid.mask_result import described, found_in
from autos.images.image_set import ImageSet
from autos.masks.mask import Mask
from autos.masks.selection import Scores, StreamedScores
from autos.methods.base import Context, Criterion, Found
from autos.network.spec import NetworkConfig
from autos.work.units import Result, read_result

INVERT: Check = "invert"
"""The check that is a matter of scoring, and not of the mask that is there."""

CHECKS: dict[Check, str] = {
    "shuffle": "The kept weights move to random places of their layers.",
    "reinitialise": "The weights of each layer are permuted under the mask.",
    "random_ticket": "Both: nothing but the layer densities is left of the method.",
    INVERT: "The lowest scores are kept; of methods that have scores.",
}
"""What each check does, in a line, by the name of the check."""


class CheckSettings(Config):
    """Settings of a unit that randomises a mask, or the weights that it is for."""

    network: NetworkConfig
    images: Path
    """Store of the image set."""
    mask: Path
    """File of the unit whose mask is checked."""
    check: Check
    seed: int
    """Seed of the initialisation and of all that the check draws."""


def checked_mask(settings: CheckSettings) -> Result:
    """Compute the mask and the weights to train from, of which the check randomises one or both."""
    found = found_in(read_result(settings.mask))
    # The seed differs from the method's, whose permutation would put random positions in order.
    own = hashlib.sha256(f"{settings.check} {settings.seed}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(own[:8]) >> 1)
    mask = found.mask
    if settings.check != "reinitialise":
        mask = shuffle(mask, generator)
    # What has been trained under the mask cannot start a training under another one.
    start, step = (None, 0) if found.trained else (found.start, found.step)
    if settings.check != "shuffle":
        images = ImageSet.load(settings.images)
        model = settings.network.build(images, seed=settings.seed)
        state = start or model.state_dict()
        start = {
            name: permuted(tensor, generator) if name in mask.keep else tensor
            for name, tensor in state.items()
        }
    return described(Found(mask, start, step))


def permuted(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return the same values in a random order."""
    order = torch.randperm(values.numel(), generator=generator)
    return values.flatten()[order].view(values.shape)


def shuffle(mask: Mask, generator: torch.Generator) -> Mask:
    """Permute the mask within each weight; layer densities stay to the last weight."""
    return Mask({name: permuted(keep, generator) for name, keep in mask.keep.items()})


def invert(criterion: Criterion[Any]) -> Criterion[Any]:
    """Return the criterion that keeps the lowest scores, in every round among what is left.

    Scores are negated. Their reciprocal, as in published code, is no inversion of signed scores
    and is NaN at 0. NaN stays NaN, which selection refuses. Equal scores are kept in the same order
    by the criterion and by its inversion.
    """

    def score(model: nn.Module, context: Context[Any]) -> Scores:
        scores = criterion.score(model, context)
        if isinstance(scores, StreamedScores):
            return _Negated(scores)
        return {name: -_signed(values) for name, values in scores.items()}

    return replace(criterion, score=score)


class _Negated(StreamedScores):
    """Scores that are negated piece by piece, as they are read."""

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
    """Return scores in at least single precision, as selection takes them.

    Booleans have no negative.
    """
    return scores.to(torch.promote_types(scores.dtype, torch.float32))
