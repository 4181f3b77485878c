"""A function of one or two scaled inputs, looked up: a predictor's scores at memory speed.

The axes of a lookup are s = x / (1 + |x|), which takes all of the real line to (-1, 1): with x in
units of the root mean square r, s = w / (r + |w|) costs three operations a weight. Between nodes
the score is interpolated linearly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

NODES = 1025
"""Number of nodes of an axis, one more than a power of two, so that every second node is that of a
coarser lookup. Half as many fit the cache of a core, but then masks agree on 99.7 % of the kept
weights only."""

COARSEST = 33
"""Number of nodes of an axis of the first lookup."""

TOLERANCE = 3e-4
"""Error of a guessed score up to which the function is not asked around it."""

SPREAD, INNER = 0.25, 3.0
"""Spread of the scores of inputs up to 3, where most weights are, below which the tolerance falls
with it: only differences order weights."""


def nodes(count: int) -> Tensor:
    """Return the inputs x [count] at the nodes of an axis; the outermost stand for infinity."""
    s = torch.linspace(-1, 1, count, dtype=torch.float64)
    s = s.clamp(-1 + 1 / NODES, 1 - 1 / NODES)
    return (s / (1 - s.abs())).float()


@dataclass(frozen=True)
class Lookup:
    """A tabulated function.

    Attributes:
        scores: Values at the nodes, [rows, columns]. The first input runs along a row, the second
            down; with one input there is one row.
    """

    scores: Tensor

    @classmethod
    def of(
        cls, function: Callable[[Tensor], Tensor], inputs: int, *, finest: int | None = None
    ) -> Self:
        """Tabulate a function.

        The number of nodes is doubled until it is `NODES`. A new node gets the score that the
        four nodes around it suggest, but the function is asked where, in the step before, they
        were wrong by more than `TOLERANCE`, or by less where all scores are close together. Beyond
        the scale, where few weights are, the tolerance grows with the distance.

        Args:
            function: From inputs [n, inputs] to scores [n].
            inputs: Number of inputs, one or two.
            finest: Number of nodes of the finest lookup at which a costly function is asked.

        Raises:
            ValueError: There are more than two inputs.
        """
        if inputs not in (1, 2):
            raise ValueError(f"a lookup has one or two inputs, not {inputs}")
        shape = (1 if inputs == 1 else COARSEST, COARSEST)
        rough = torch.ones(shape, dtype=torch.bool)
        scores = _evaluate(function, rough, inputs)
        tolerance = TOLERANCE * min(1.0, _spread(scores) / SPREAD)
        while scores.shape[1] < NODES:
            guess = _doubled(scores)
            if finest and guess.shape[1] > finest:
                scores = guess
                continue
            ask = _near(rough, guess.shape)
            ask[:: 1 if inputs == 1 else 2, ::2] = False  # These were known the step before.
            scores = torch.where(ask, _evaluate(function, ask, inputs), guess)
            distance = nodes(guess.shape[1]).abs().clamp(min=1)
            if inputs == 2:
                distance = torch.maximum(distance, distance[:, None])
            wrong = ask & ((scores - guess).abs() > tolerance * distance)
            around = (1, 5) if inputs == 1 else (5, 5)
            rough = F.max_pool2d(
                wrong[None].float(), around, stride=1, padding=[side // 2 for side in around]
            )[0].bool()
        return cls(scores)

    def __call__(self, values: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
        """Look up scores [n].

        Args:
            values: Inputs [n], one tensor each.
            scales: The unit of each input.
        """
        count, device = len(values[0]), values[0].device
        # Rows of a batch are the only thing that `grid_sample` shares between threads.
        threads = torch.get_num_threads()
        parts = threads if device.type == "cpu" and count % threads == 0 else 1
        grid = torch.zeros(2, count, device=device)
        for axis, value, scale in zip(grid, values, scales, strict=False):
            value = value.float()
            torch.abs(value, out=axis)
            torch.div(value, axis.add_(scale), out=axis)
        table = self.scores.to(device).expand(parts, 1, *self.scores.shape)
        return F.grid_sample(
            table,
            grid.view(2, parts, 1, count // parts).permute(1, 2, 3, 0),
            mode="bilinear",
            padding_mode="border",
            align_corners=True,
        ).flatten()


def agreement(one: Tensor, two: Tensor) -> float:
    """Return the share of kept weights in which two scorings [n] agree.

    It is the mean over all masks that keep from 1 to 50 % of the weights.
    """
    ranks = [scores.argsort(descending=True, stable=True).argsort() for scores in (one, two)]
    count = torch.arange(1, len(one) + 1)
    both = torch.bincount(torch.maximum(*ranks), minlength=len(one)).cumsum(0) / count
    return float(both[len(one) // 100 : len(one) // 2].mean())


def _spread(scores: Tensor) -> float:
    """Return how far apart the scores of usual inputs are, in a table [rows, columns]."""
    inner = scores[:, nodes(scores.shape[1]).abs() <= INNER]
    if len(scores) > 1:
        inner = inner[nodes(len(scores)).abs() <= INNER]
    return float(inner.max() - inner.min())


def _doubled(table: Tensor) -> Tensor:
    """Put a node between any two, on the cubic through four (Dubuc and Deslauriers, 1989)."""
    for _ in range(2):
        if len(table) > 1:
            before, after = 2 * table[:1] - table[1:2], 2 * table[-1:] - table[-2:-1]
            four = torch.cat([before, table, after]).unfold(0, 4, 1)
            between = four @ torch.tensor([-1.0, 9.0, 9.0, -1.0]) / 16
            pairs = torch.stack([table[:-1], between], dim=1)
            table = torch.cat([pairs.flatten(0, 1), table[-1:]])
        table = table.T
    return table.contiguous()


def _near(rough: Tensor, shape: torch.Size) -> Tensor:
    """Tell which nodes of a finer lookup [shape] are at or next to the marked ones."""
    weights = rough[None, None].float()
    return F.interpolate(weights, shape, mode="bilinear", align_corners=True)[0, 0] > 0


def _evaluate(function: Callable[[Tensor], Tensor], where: Tensor, inputs: int) -> Tensor:
    """Ask the function at the marked nodes; the others are 0."""
    rows, columns = where.nonzero(as_tuple=True)
    axis = nodes(where.shape[1])
    scores = torch.zeros(where.shape)
    points = torch.stack([axis[columns], axis[rows]][:inputs], dim=1)
    if len(points):
        scores[rows, columns] = function(points)
    return scores
