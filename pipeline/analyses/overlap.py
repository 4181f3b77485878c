"""Mask overlap (Lottery Jackpots, eq. 7): the share of positions on which two masks agree.

Most positions of two sparse masks agree because both prune them: two random masks of density d
agree on 1 - 2 d (1 - d), at 10 % on 82 %. So what chance gives stands beside it, and Jaccard's
index, which looks at kept weights only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import UserError
from pipeline.masks import Mask


@dataclass(frozen=True)
class Overlap:
    """How two masks meet on `total` positions.

    Attributes:
        total: positions.
        first, second: how many each mask keeps.
        both: how many both keep.
    """

    total: int
    first: int
    second: int
    both: int

    @property
    def agreement(self) -> float:
        """Share of positions that both keep or both prune."""
        return 1 - (self.first + self.second - 2 * self.both) / self.total

    @property
    def chance(self) -> float:
        """Expected agreement of two independent random masks of these densities."""
        first, second = self.first / self.total, self.second / self.total
        return first * second + (1 - first) * (1 - second)

    @property
    def jaccard(self) -> float:
        """Weights that both keep, among those that either keeps; 1 if neither keeps any."""
        return _jaccard(self.both, self.first, self.second)

    @property
    def jaccard_chance(self) -> float:
        """Jaccard's index of as many common weights as chance gives."""
        return _jaccard(self.first * self.second / self.total, self.first, self.second)


def overlap(first: Mask, second: Mask) -> dict[str, Overlap]:
    """The overlap in every layer, by name.

    Raises:
        UserError: the masks are of different networks.
    """
    check_alike({"first mask": first, "second mask": second})
    layers = {}
    for name, ours in first.keep.items():
        theirs = second.keep[name]
        layers[name] = Overlap(
            ours.numel(), int(ours.sum()), int(theirs.sum()), int((ours & theirs).sum())
        )
    return layers


def joined(layers: Mapping[str, Overlap]) -> Overlap:
    """The overlap over all layers; its chance is that of positions anywhere in the network."""
    return Overlap(
        sum(layer.total for layer in layers.values()),
        sum(layer.first for layer in layers.values()),
        sum(layer.second for layer in layers.values()),
        sum(layer.both for layer in layers.values()),
    )


def layerwise_chance(layers: Mapping[str, Overlap]) -> float:
    """Expected agreement of random masks with these layer densities: what shuffling leaves."""
    expected = sum(layer.chance * layer.total for layer in layers.values())
    return expected / sum(layer.total for layer in layers.values())


def check_alike(masks: Mapping[str, Mask]) -> None:
    """Raises UserError: the masks, by what to call them, differ in a layer's name or shape."""
    (name, mask), *others = masks.items()
    for other_name, other in others:
        if mask.shapes != other.shapes:
            layers = {**mask.shapes, **other.shapes}
            layer = next(n for n in layers if mask.shapes.get(n) != other.shapes.get(n))
            ours, theirs = (m.shapes.get(layer, "absent") for m in (mask, other))
            raise UserError(
                f"masks of different networks: {layer} is {ours} in {name} and {theirs} in "
                f"{other_name}"
            )


def _jaccard(both: float, first: int, second: int) -> float:
    either = first + second - both
    return both / either if either else 1.0
