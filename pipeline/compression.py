"""Training data of a predictor, compressed: weights in the same situation become one row.

Under squared error a group of weights with the same inputs x and labels y_1 ... y_c enters only
through their mean and number:

    sum (f(x) - y_i)^2 = c (f(x) - mean y)^2 + sum (y_i - mean y)^2

So inputs are grouped by the cells of a fine grid, and replaced by their mean in the cell: however
many weights there are, they become at most `CELLS` squared rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

CELLS = 512
"""Per axis of a grid in s = x / (1 + |x|), as the axes of a predictor's table."""

PIECE = 2**20


@dataclass(frozen=True)
class Rows:
    """Groups of weights.

    Attributes:
        inputs: float32 [rows, k], means of the scaled inputs.
        labels: float32 [rows], means of the labels.
        counts: int64 [rows], weights in each group.
        spread: sum over all weights of the squared distance of a label to its group's mean; no
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
        sums = torch.zeros(CELLS**k, k + 3, dtype=torch.float64)
        for inputs, labels in networks:
            for x, y in zip(inputs.split(PIECE), labels.split(PIECE), strict=True):
                cell = _cells(x)
                y = y.double()
                columns = (torch.ones_like(y), y, y.square(), *x.double().unbind(1))
                for column, values in zip(sums.unbind(1), columns, strict=True):
                    column += torch.bincount(cell, values, minlength=len(sums))
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
        """Weights in all groups."""
        return int(self.counts.sum())

    def mean_squared_error(self, predicted: Tensor) -> float:
        """Over all weights, from one prediction [rows] per group."""
        error = (self.counts * (predicted - self.labels).square().double()).sum()
        return (float(error) + self.spread) / self.total


def _cells(inputs: Tensor) -> Tensor:
    """Index [n] of the cell of each of the inputs [n, k]."""
    s = inputs / (1 + inputs.abs())
    along = ((s + 1) * (CELLS / 2)).long().clamp_(0, CELLS - 1)
    index = along[:, 0]
    for axis in along.unbind(1)[1:]:
        index = index * CELLS + axis
    return index
