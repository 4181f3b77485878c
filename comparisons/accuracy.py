"""The statistics of docs/accuracy.md: every method over all targets, AutoS against the best.

Targets are fixed and seeds are random: a method's accuracy, or the difference of two, is averaged
over the targets for every seed, and intervals are Student's t over seeds. Beside them stand
intervals over all pairs of target and seed, as if each were drawn by itself.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from pipeline.report import SCORE, Cell, Difference, Results

CONFIDENCE = 0.95
MEAN = "mean over targets"
"""The one target of `pooled` results."""
LEARNED = ["autos_paper", "autos"]
IRP, SYNFLOW = "irp", "synflow"


def pooled(results: Results) -> Results:
    """Accuracies averaged over the targets, for every method, density and seed; checks too.

    Every target must have every cell.
    """
    targets = list(results.cells.values())
    mean = Results(
        {
            "target": MEAN,
            **{key: cell[key] for key in ("criterion", "kind", "check", "density", "seed")},
            "test_accuracy": fmean(cell["test_accuracy"] for cell in each),
            "validation_accuracy": [fmean(cell["validation_accuracy"][-1] for cell in each)],
        }
        for method, by_density in targets[0].items()
        for density, by_seed in by_density.items()
        for seed, cell in by_seed.items()
        for each in [[target[method][density][seed] for target in targets]]
    )
    mean.checks = {check: pooled(those) for check, those in results.checks.items()}
    return mean


def best_hand_made(mean: Results, density: float) -> str:
    """The score with the highest validation accuracy, averaged over targets and seeds.

    Those that do not reach the density take no part.
    """
    methods = mean.cells[MEAN]
    scores = [n for n in methods if density in methods[n] and mean.kind(MEAN, n) == SCORE]

    def validation(name: str) -> float:
        return fmean(cell["validation_accuracy"][-1] for cell in methods[name][density].values())

    return max(scores, key=validation)


@dataclass(frozen=True)
class Comparison:
    """A learned criterion against the best hand-made one at a density, over all targets.

    Attributes:
        seeds: the difference, paired by seed after averaging over the targets.
        pairs: the same one, paired by target and seed.
        gap: IRP minus the best; None if nothing was pruned by IRP.
    """

    density: float
    ours: str
    seeds: Difference
    pairs: Difference
    gap: float | None

    @property
    def best(self) -> str:
        return self.seeds.other

    @property
    def closed(self) -> float | None:
        """Share of the gap; None if there is none, as IRP is not above the best."""
        return self.seeds.mean / self.gap if self.gap and self.gap > 0 else None


def comparisons(results: Results) -> Iterator[Comparison]:
    mean = pooled(results)
    methods = mean.cells[MEAN]

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
) -> dict[tuple[str, int], Cell]:
    return {
        (target, seed): cell
        for target in results.targets
        for seed, cell in results.cells[target][method][density].items()
    }


def seconds(prune_seconds: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """By method and target: the time to find a mask, median over densities and seeds."""
    times: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for name, value in prune_seconds.items():
        _, target, method, _density, _seed, *check = name.split("/")
        if not check:
            times[method][target].append(value)
    return {m: {t: median(each) for t, each in found.items()} for m, found in times.items()}


def record(
    results: Results,
    sanity: Results,
    image_sets: Mapping[str, str],
    times: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """What docs/accuracy.json holds: accuracies and times are fractions and seconds.

    Args:
        image_sets: of every target.
        times: as `seconds` gives them.
    """
    return {
        "confidence": CONFIDENCE,
        "rows": [
            {
                "target": target,
                "image_set": image_sets[target],
                "density": density,
                "method": method,
                "accuracy": [by_seed[seed]["test_accuracy"] for seed in sorted(by_seed)],
            }
            for target, methods in results.cells.items()
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
            for method in mean.criteria(MEAN)
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
    """JSON has no NaN, which the interval of a single pair is."""
    low, high = (None if math.isnan(end) else end for end in (found.low, found.high))
    return {"mean": found.mean, "low": low, "high": high, "n": found.n}
