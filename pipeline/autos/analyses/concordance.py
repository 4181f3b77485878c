"""Concordance correlation of surviving scores (AutoS paper, eq. 5 and Table 9).

    CCC = 2 Cov(X, Y) / (Var X + Var Y + (mean X - mean Y)^2)

The moments are those of the population. The coefficient is 1 only if the scores are equal, where
plain correlation would forgive a shift or another scale. Scores are rounds survived as a fraction
of all rounds, so that runs of different length compare. Shape alone decides which networks are
compared: weights are paired by position.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from autos.errors import UserError
from autos.irp.survival import Survival


@dataclass(frozen=True)
class Pair:
    """Comparison of two networks.

    Attributes:
        first: Name of the first network.
        second: Name of the second network.
        concordance: Concordance of their surviving scores, in [-1, 1].
        same_start: Whether both began with the same weights.
    """

    first: str
    second: str
    concordance: float
    same_start: bool


def concordance(x: np.ndarray, y: np.ndarray) -> float:
    """Compute Lin's concordance coefficient of paired scores [n], in [-1, 1].

    It is 0 if neither varies, as there is nothing to agree on.
    """
    x, y = x.astype(np.float64), y.astype(np.float64)
    if x.min() == x.max() and y.min() == y.max():
        return 0.0
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    return float(2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))


def pairs(networks: Mapping[str, Survival]) -> list[Pair]:
    """Compare every pair of networks that have the same layers.

    Args:
        networks: Surviving scores of the networks, by name.

    Raises:
        UserError: No two networks have the same layers.
    """
    found = [
        Pair(
            first,
            second,
            concordance(ours.survival / ours.rounds, theirs.survival / theirs.rounds),
            np.array_equal(ours.weight, theirs.weight),
        )
        for (first, ours), (second, theirs) in itertools.combinations(networks.items(), 2)
        if ours.about["layers"] == theirs.about["layers"]
    ]
    if not found:
        raise UserError(
            f"no two networks with the same layers among {', '.join(networks)}: concordance "
            "compares weight by weight"
        )
    return found
