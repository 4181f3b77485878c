"""Mask overlap (Lottery Jackpots, eq. 7): the share of positions on which two masks agree.

Most positions of two sparse masks agree because both prune them: two random masks of density d
agree on 1 - 2 d (1 - d), which is 82 % at 10 %. So what chance gives stands beside the overlap, and
Jaccard's index, which looks at kept weights only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from autos.errors import UserError
from autos.masks.mask import Mask


@dataclass(frozen=True)
class Overlap:
    """How two masks meet on some positions.

    Attributes:
        total: Number of positions.
        first: Number of positions that the first mask keeps.
        second: Number of positions that the second mask keeps.
        both: Number of positions that both masks keep.
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
        """Share that both keep of the weights that either keeps; 1 if neither keeps any."""
        return _jaccard(self.both, self.first, self.second)

    @property
    def jaccard_chance(self) -> float:
        """Jaccard's index if as many weights are common as chance gives."""
        return _jaccard(self.first * self.second / self.total, self.first, self.second)


def overlap(first: Mask, second: Mask) -> dict[str, Overlap]:
    """Compute the overlap in every layer, by name.

    Raises:
        UserError: The masks are of different networks.
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
    """Add up the overlap over all layers.

    What chance gives is then that of positions anywhere in the network.
    """
    return Overlap(
        sum(layer.total for layer in layers.values()),
        sum(layer.first for layer in layers.values()),
        sum(layer.second for layer in layers.values()),
        sum(layer.both for layer in layers.values()),
    )


def layerwise_chance(layers: Mapping[str, Overlap]) -> float:
    """Compute the expected agreement of random masks with these layer densities.

    It is what shuffling the masks within their layers leaves.
    """
    expected = sum(layer.chance * layer.total for layer in layers.values())
    return expected / sum(layer.total for layer in layers.values())


def check_alike(masks: Mapping[str, Mask]) -> None:
    """Check that masks are of one network, or raise.

    Args:
        masks: Masks by the names that they have in the message.

    Raises:
        UserError: Two masks differ in the name or the shape of a layer.
    """
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
