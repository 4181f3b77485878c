"""Statistics of results.json: spreads over seeds, and differences paired by seed."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from autos.errors import extra
from autos.grid.cell import DENSE, ResultRow

with extra("pipeline"):
    from scipy.special import stdtrit

AUTOS = "autos"
"""Name of AutoS among the methods."""

SCORE, SEARCH = "score", "search"
"""Kinds of methods, see `autos.methods.base.Kind`."""


@dataclass(frozen=True)
class Spread:
    """A mean and sample standard deviation over seeds.

    Attributes:
        mean: Mean of the values.
        std: Sample standard deviation; NaN for one seed.
        n: Number of values, one per seed.
    """

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Compute the spread of some values."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else math.nan, len(values))

    def percent(self) -> str:
        """Word the spread of fractions in per cent."""
        spread = f" ± {100 * self.std:.1f}" if self.n > 1 else ""
        return f"{100 * self.mean:.1f}{spread}"


@dataclass(frozen=True)
class Difference:
    """One method minus another, in test accuracy, paired by seed or by whatever rows are named by.

    Attributes:
        other: Name of the method, or of the check, that is subtracted.
        mean: Mean of the differences.
        low: Lower end of the confidence interval of the mean (Student's t); NaN with one pair.
        high: Upper end of the interval.
        n: Number of pairs.
    """

    other: str
    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(
        cls,
        ours: Mapping[Any, ResultRow],
        other: str,
        theirs: Mapping[Any, ResultRow],
        confidence: float,
    ) -> "Difference":
        """Compute the difference of two methods.

        Args:
            ours: Rows of the first method, by what they are paired by.
            other: Name of the second method, which is subtracted.
            theirs: Rows of the second method, by the same as those of the first.
            confidence: Confidence of the interval, in (0, 1).
        """
        paired = [ours[name].test_accuracy - theirs[name].test_accuracy for name in ours]
        mean, half = fmean(paired), math.nan
        if len(paired) > 1:
            half = stdtrit(len(paired) - 1, (1 + confidence) / 2) * stdev(paired)
            half /= math.sqrt(len(paired))
        return cls(other, mean, mean - half, mean + half, len(paired))

    def interval(self) -> str:
        """Word the interval in percentage points."""
        if math.isnan(self.low):
            return "n/a"
        return f"[{100 * self.low:+.1f}, {100 * self.high:+.1f}]"

    def points(self) -> str:
        """Word the mean in percentage points, with the interval if there is one."""
        mean = f"{100 * self.mean:+.1f}"
        return mean if math.isnan(self.low) else f"{mean} {self.interval()}"


class Results:
    """All rows of results.json.

    Attributes:
        rows: Rows by target, method, density and seed, without those of sanity checks.
        checks: Results of each sanity check.
    """

    def __init__(self, rows: Iterable[ResultRow]) -> None:
        self.rows: dict[str, dict[str, dict[float, dict[int, ResultRow]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(dict))
        )
        checks: dict[str, list[ResultRow]] = defaultdict(list)
        for row in rows:
            if row.check:
                checks[row.check].append(row.model_copy(update={"check": None}))
            else:
                self.rows[row.target][row.method][row.density][row.seed] = row
        self.checks = {check: Results(those) for check, those in checks.items()}

    @property
    def targets(self) -> list[str]:
        """Names of the targets."""
        return list(self.rows)

    def methods(self, target: str) -> list[str]:
        """Return the methods that prune a target, in the order of the results."""
        return [name for name in self.rows[target] if name != DENSE]

    def densities(self, target: str) -> list[float]:
        """Return the densities of a target, from the highest to the lowest."""
        return sorted(self.rows[target][self.methods(target)[0]], reverse=True)

    def spread(self, target: str, method: str, density: float, figure: str) -> Spread:
        """Return the spread over seeds of a figure, a field of `ResultRow`."""
        rows = self.rows[target][method][density].values()
        return Spread.of([getattr(row, figure) for row in rows])

    def accuracy(self, target: str, method: str, density: float) -> Spread:
        """Return the spread of the test accuracy after the last epoch."""
        return self.spread(target, method, density, "test_accuracy")

    def kind(self, target: str, method: str) -> str:
        """Return the kind of a method."""
        by_seed = next(iter(self.rows[target][method].values()))
        return next(iter(by_seed.values())).kind

    def difference(self, target: str, density: float, confidence: float) -> Difference | None:
        """Compare AutoS with the best hand-made score, if there are both.

        The best is the one with the highest validation accuracy, averaged over seeds.
        """
        others = [name for name in self.methods(target) if self.kind(target, name) == SCORE]
        if AUTOS not in self.rows[target] or not others:
            return None

        def validation(method: str) -> float:
            rows = self.rows[target][method][density].values()
            return fmean(row.validation_accuracy[-1] for row in rows)

        best = max(others, key=validation)
        ours, theirs = (self.rows[target][name][density] for name in (AUTOS, best))
        return Difference.of(ours, best, theirs, confidence)

    def loss_by(
        self, check: str, target: str, method: str, density: float, confidence: float
    ) -> Difference | None:
        """Return what a sanity check takes away from a method, or None if it was not checked so."""
        theirs = self.checks[check].rows[target][method].get(density)
        if not theirs:
            return None
        return Difference.of(self.rows[target][method][density], check, theirs, confidence)


def metrics(results: Results, confidence: float) -> dict[str, Any]:
    """Return figures, nested by target, method and density, as values that JSON can hold.

    They are the test accuracies, and under "autos_minus_best" the difference of AutoS to the best
    hand-made score.
    """
    found: dict[str, Any] = {}
    for target in results.targets:
        found[target] = {
            method: {
                f"{density:g}": _rounded(results.accuracy(target, method, density))
                for density in sorted(results.rows[target][method], reverse=True)
            }
            for method in results.rows[target]
        }
        for density in results.densities(target):
            difference = results.difference(target, density, confidence)
            if difference:
                figures = {"best": difference.other, "mean": round(difference.mean, 6)}
                if not math.isnan(difference.low):
                    figures |= {"low": round(difference.low, 6), "high": round(difference.high, 6)}
                found[target].setdefault("autos_minus_best", {})[f"{density:g}"] = figures
    return found


def _rounded(spread: Spread) -> dict[str, float]:
    figures = {"mean": round(spread.mean, 6)}
    if spread.n > 1:
        figures["std"] = round(spread.std, 6)
    return figures
