"""The statistics of docs/accuracy.md: every method over all targets, and AutoS against the best.

Targets are fixed and seeds are random: a method's accuracy, or the difference of two, is averaged
over the targets for every seed, and intervals are Student's t over seeds. Beside them stand
intervals over all pairs of target and seed, as if each pair were drawn by itself.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from autos.grid.cell import Cell, ResultRow
from autos.report.results import SCORE, Difference, Results

CONFIDENCE = 0.95
MEAN = "mean over targets"
"""Name of the only target of `pooled` results."""

LEARNED = ["autos_paper", "autos"]
"""Names of the trained predictors."""

IRP, SYNFLOW = "irp", "synflow"


def pooled(results: Results) -> Results:
    """Average accuracies over the targets, for every method, density and seed.

    Results of sanity checks are averaged too. Every target must have every cell.
    """
    targets = list(results.rows.values())
    mean = Results(
        row.model_copy(
            update={
                "target": MEAN,
                "test_accuracy": fmean(one.test_accuracy for one in each),
                "validation_accuracy": [fmean(one.validation_accuracy[-1] for one in each)],
            }
        )
        for method, by_density in targets[0].items()
        for density, by_seed in by_density.items()
        for seed, row in by_seed.items()
        for each in [[target[method][density][seed] for target in targets]]
    )
    mean.checks = {check: pooled(those) for check, those in results.checks.items()}
    return mean


def best_hand_made(mean: Results, density: float) -> str:
    """Return the name of the hand-made score with the highest validation accuracy.

    Accuracy is averaged over targets and seeds. Scores that do not reach the density take no part.

    Args:
        mean: Results as `pooled` returns them.
        density: Fraction of weights that is kept.
    """
    methods = mean.rows[MEAN]
    scores = [n for n in methods if density in methods[n] and mean.kind(MEAN, n) == SCORE]

    def validation(name: str) -> float:
        return fmean(row.validation_accuracy[-1] for row in methods[name][density].values())

    return max(scores, key=validation)


@dataclass(frozen=True)
class Comparison:
    """A trained predictor against the best hand-made score at a density, over all targets.

    Attributes:
        density: Fraction of weights that is kept.
        ours: Name of the predictor.
        seeds: Predictor minus the best, paired by seed after averaging over the targets.
        pairs: Predictor minus the best, paired by target and seed.
        gap: Accuracy of IRP minus that of the best; None if nothing was pruned by IRP.
    """

    density: float
    ours: str
    seeds: Difference
    pairs: Difference
    gap: float | None

    @property
    def best(self) -> str:
        """Name of the best hand-made score."""
        return self.seeds.other

    @property
    def closed(self) -> float | None:
        """Share of the gap to IRP that is closed; None if there is no such gap."""
        return self.seeds.mean / self.gap if self.gap and self.gap > 0 else None


def comparisons(results: Results) -> Iterator[Comparison]:
    """Yield the comparison of each trained predictor at each density, from the highest."""
    mean = pooled(results)
    methods = mean.rows[MEAN]

    def minus_best(name: str, density: float, best: str) -> Difference:
        ours, theirs = methods[name][density], methods[best][density]
        return Difference.of(ours, best, theirs, CONFIDENCE)

    def minus_best_in_pairs(name: str, density: float, best: str) -> Difference:
        ours, theirs = (by_target_and_seed(results, each, density) for each in (name, best))
        return Difference.of(ours, best, theirs, CONFIDENCE)

    for density in mean.densities(MEAN):
        best = best_hand_made(mean, density)
        gap = minus_best(IRP, density, best).mean if IRP in methods else None
        for name in LEARNED:
            if name in methods:
                seeds = minus_best(name, density, best)
                pairs = minus_best_in_pairs(name, density, best)
                yield Comparison(density, name, seeds, pairs, gap)


def by_target_and_seed(
    results: Results, method: str, density: float
) -> dict[tuple[str, int], ResultRow]:
    """Return the rows of a method at a density, by target and seed."""
    return {
        (target, seed): row
        for target in results.targets
        for seed, row in results.rows[target][method][density].items()
    }


def seconds(prune_seconds: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return the time to find a mask, median over densities and seeds, by method and target.

    Args:
        prune_seconds: Time in seconds of every unit of stage `prune`, by its name.
    """
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, value in prune_seconds.items():
        cell = Cell.of_unit(name)
        if not cell.check:
            times[cell.method][cell.target].append(value)
    return {m: {t: median(each) for t, each in found.items()} for m, found in times.items()}


def record(
    results: Results,
    sanity: Results,
    image_sets: Mapping[str, str],
    times: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Return what docs/accuracy.json holds: accuracies are fractions, and times are in seconds.

    Args:
        results: What was measured of all methods.
        sanity: What was measured of the sanity checks.
        image_sets: Name of the image set of every target.
        times: Times to find a mask, as `seconds` returns them.
    """
    return {
        "confidence": CONFIDENCE,
        "rows": [
            {
                "target": target,
                "image_set": image_sets[target],
                "density": density,
                "method": method,
                "accuracy": [by_seed[seed].test_accuracy for seed in sorted(by_seed)],
            }
            for target, methods in results.rows.items()
            for method, by_density in methods.items()
            for density, by_seed in sorted(by_density.items(), reverse=True)
        ],
        "differences": [
            {
                "density": found.density,
                "ours": found.ours,
                "other": found.best,
                **_figures(found.seeds),
                "over_targets_and_seeds": _figures(found.pairs),
                "irp_minus_other": found.gap,
                "gap_closed": found.closed,
            }
            for found in comparisons(results)
        ],
        "checks": [
            {"density": density, "method": method, "check": check, **_figures(loss)}
            for mean in [pooled(sanity)]
            for method in mean.methods(MEAN)
            for density in mean.densities(MEAN)
            for check in mean.checks
            if (loss := mean.loss_by(check, MEAN, method, density, CONFIDENCE))
        ],
        "seconds": [
            {"target": target, "method": method, "seconds": value}
            for method, by_target in times.items()
            for target, value in by_target.items()
        ],
    }


def _figures(found: Difference) -> dict[str, float | None]:
    """Return a difference as JSON holds it.

    JSON has no NaN, which the interval of a single pair is.
    """
    low, high = (None if math.isnan(end) else end for end in (found.low, found.high))
    return {"mean": found.mean, "low": low, "high": high, "n": found.n}
