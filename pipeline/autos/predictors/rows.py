"""Training data of the paper's predictor, compressed: weights alike become one row.

Under squared error a group of weights with the same inputs x and labels y_1 ... y_c enters only
through their mean and number:

    sum (f(x) - y_i)^2 = c (f(x) - mean y)^2 + sum (y_i - mean y)^2

So inputs are grouped by the squares of a fine net, and replaced by their mean in the square:
however many weights there are, they become at most `SQUARES` x `SQUARES` rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

SQUARES = 512
"""Number of squares along an axis of the net, in s = x / (1 + |x|) as the axes of a lookup."""

PIECE = 2**20
"""Number of weights that are grouped together."""


@dataclass(frozen=True)
class Rows:
    """Groups of weights.

    Attributes:
        inputs: Means of the scaled inputs, float32 [rows, k].
        labels: Means of the labels, float32 [rows].
        counts: Number of weights in each group, int64 [rows].
        spread: Sum over all weights of the squared distance of a label to its group's mean. No
            prediction that is the same for a group has a smaller sum of squared errors.
    """

    inputs: Tensor
    labels: Tensor
    counts: Tensor
    spread: float

    @classmethod
    def of(cls, networks: Sequence[tuple[Tensor, Tensor]]) -> Self:
        """Group the scaled inputs [n, k] and the labels [n] of several networks together."""
        k = networks[0][0].shape[1]
        sums = torch.zeros(SQUARES**k, k + 3, dtype=torch.float64)
        for inputs, labels in networks:
            for x, y in zip(inputs.split(PIECE), labels.split(PIECE), strict=True):
                square = _squares(x)
                y = y.double()
                columns = (torch.ones_like(y), y, y.square(), *x.double().unbind(1))
                for column, values in zip(sums.unbind(1), columns, strict=True):
                    column += torch.bincount(square, values, minlength=len(sums))
        counts, label, square, *x = sums[sums[:, 0] > 0].unbind(1)
        mean = label / counts
        return cls(
            inputs=(torch.stack(x, dim=1) / counts[:, None]).float(),
            labels=mean.float(),
            counts=counts.long(),
            spread=float((square - counts * mean.square()).clamp(min=0).sum()),
        )

    @property
    def total(self) -> int:
        """Number of weights in all groups."""
        return int(self.counts.sum())

    def mean_squared_error(self, predicted: Tensor) -> float:
        """Return the error over all weights, from one prediction [rows] per group."""
        error = (self.counts * (predicted - self.labels).square().double()).sum()
        return (float(error) + self.spread) / self.total


def _squares(inputs: Tensor) -> Tensor:
    """Return the index [n] of the square in which each of the inputs [n, k] is."""
    s = inputs / (1 + inputs.abs())
    along = ((s + 1) * (SQUARES / 2)).long().clamp_(0, SQUARES - 1)
    index = along[:, 0]
    for axis in along.unbind(1)[1:]:
        index = index * SQUARES + axis
    return index
