"""From the results of all cells to tables: accuracy per criterion, and AutoS against the best."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

AUTOS, DENSE = "autos", "dense"

Cell = Mapping[str, Any]
"""An entry of results.json."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation over seeds."""

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(fmean(values), stdev(values) if len(values) > 1 else math.nan, len(values))

    def percent(self) -> str:
        spread = f" ± {100 * self.std:.1f}" if self.n > 1 else ""
        return f"{100 * self.mean:.1f}{spread}"


@dataclass(frozen=True)
class Difference:
    """AutoS minus the best hand-made criterion, in test accuracy, paired by seed.

    Attributes:
        best: the hand-made criterion with the highest validation accuracy, averaged over seeds.
        low, high: confidence interval of the mean (Student's t; NaN with one seed).
    """

    best: str
    mean: float
    low: float
    high: float


class Results:
    """All cells of results.json, by target, criterion, density and seed."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells: dict[str, dict[str, dict[float, dict[int, Cell]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(dict))
        )
        for cell in cells:
            by_density = self.cells[cell["target"]][cell["criterion"]]
            by_density[cell["density"]][cell["seed"]] = cell

    @property
    def targets(self) -> list[str]:
        return list(self.cells)

    def criteria(self, target: str) -> list[str]:
        """Those that prune, in the order of the results."""
        return [name for name in self.cells[target] if name != DENSE]

    def densities(self, target: str) -> list[float]:
        """From the highest to the lowest."""
        return sorted(self.cells[target][self.criteria(target)[0]], reverse=True)

    def spread(self, target: str, criterion: str, density: float, key: str) -> Spread:
        return Spread.of([c[key] for c in self.cells[target][criterion][density].values()])

    def accuracy(self, target: str, criterion: str, density: float) -> Spread:
        """Test accuracy after the last epoch."""
        return self.spread(target, criterion, density, "test_accuracy")

    def difference(self, target: str, density: float, confidence: float) -> Difference | None:
        """AutoS against the best of the others; None if there is no AutoS or no other."""
        others = [name for name in self.criteria(target) if name != AUTOS]
        if AUTOS not in self.cells[target] or not others:
            return None

        def validation(criterion: str) -> float:
            cells = self.cells[target][criterion][density].values()
            return fmean(cell["validation_accuracy"][-1] for cell in cells)

        best = max(others, key=validation)
        ours, theirs = (self.cells[target][name][density] for name in (AUTOS, best))
        paired = [ours[seed]["test_accuracy"] - theirs[seed]["test_accuracy"] for seed in ours]
        mean, half = fmean(paired), math.nan
        if len(paired) > 1:
            half = stdtrit(len(paired) - 1, (1 + confidence) / 2) * stdev(paired)
            half /= math.sqrt(len(paired))
        return Difference(best, mean, mean - half, mean + half)


def metrics(results: Results, confidence: float) -> dict[str, Any]:
    """Nested figures for `dvc metrics`: accuracies, and the difference to the best."""
    found: dict[str, Any] = {}
    for target in results.targets:
        found[target] = {
            criterion: {
                f"{density:g}": _rounded(results.accuracy(target, criterion, density))
                for density in sorted(results.cells[target][criterion], reverse=True)
            }
            for criterion in results.cells[target]
        }
        for density in results.densities(target):
            difference = results.difference(target, density, confidence)
            if difference:
                figures = {"best": difference.best, "mean": round(difference.mean, 6)}
                if not math.isnan(difference.low):
                    figures |= {"low": round(difference.low, 6), "high": round(difference.high, 6)}
                found[target].setdefault("autos_minus_best", {})[f"{density:g}"] = figures
    return found


def accuracy_table(results: Results, target: str) -> list[str]:
    """Markdown: test accuracy in per cent, a row per criterion and a column per density."""
    densities = results.densities(target)
    best = {
        d: max(results.accuracy(target, c, d).mean for c in results.criteria(target))
        for d in densities
    }
    rows = []
    for criterion in results.criteria(target):
        spreads = {d: results.accuracy(target, criterion, d) for d in densities}
        cells = [f"**{s.percent()}**" if s.mean == best[d] else s.percent()
                 for d, s in spreads.items()]  # fmt: skip
        rows.append([criterion, *cells])
    return _table(["criterion", *map(_percent, densities)], rows)


def difference_table(results: Results, target: str, confidence: float) -> list[str]:
    """Markdown: AutoS minus the best hand-made criterion, in percentage points."""
    rows = []
    for density in results.densities(target):
        found = results.difference(target, density, confidence)
        if found:
            interval = f"[{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
            if math.isnan(found.low):
                interval = "n/a"
            rows.append([_percent(density), found.best, f"{100 * found.mean:+.1f}", interval])
    head = ["density", "best hand-made", "AutoS minus best", f"{confidence:.0%} interval"]
    return _table(head, rows) if rows else []


def flops_table(results: Results, target: str) -> list[str]:
    """Markdown: operations of a forward pass, in per cent of the dense network's."""
    rows = []
    for criterion in results.criteria(target):
        shares = [
            results.spread(target, criterion, d, "flops").mean
            / results.spread(target, criterion, d, "dense_flops").mean
            for d in results.densities(target)
        ]
        rows.append([criterion, *(f"{100 * share:.1f}" for share in shares)])
    return _table(["criterion", *map(_percent, results.densities(target))], rows)


def overlap_table(network: Mapping[str, Any]) -> list[str]:
    """Markdown: share of IRP's mask that each score also keeps, on held-out weights."""
    criteria = list(network["overlap"])
    rows = [
        [_percent(density), *(f"{100 * network['overlap'][c][i]:.1f}" for c in criteria)]
        for i, density in enumerate(network["densities"])
    ]
    return _table(["density", *criteria], [*rows[:: max(1, len(rows) // 5)][:-1], rows[-1]])


def markdown(
    results: Results, masks: Sequence[Cell], predictor: Mapping[str, Any], confidence: float
) -> str:
    """The report of a run."""
    lines = ["# Sparse networks compared", "", *accuracy_section(results, confidence)]
    lines += ["## Cost", "", "Operations of a forward pass in per cent of the dense network's:", ""]
    for target in results.targets:
        lines += [f"### {target}", "", *flops_table(results, target), ""]
    lines += ["## What the masks keep", "", "![Layer densities](layer_densities.png)", ""]
    for mask in masks:
        if empty := mask["empty_layers"]:
            lines.append(f"- `{mask['file']}` keeps nothing in {', '.join(empty)}")
    lines += ["", "## What the predictor learned", ""]
    lines += ["![Predicted survival by weight and gradient](predictor_map.png)", ""]
    lines += ["![Predicted and true survival](survival.png)", ""]
    for name, network in predictor["networks"].items():
        spearman = ", ".join(f"{c} {value:.3f}" for c, value in network["spearman"].items())
        lines += [
            f"### {name}",
            "",
            f"On {network['held_out']:,} weights held out from training: mean squared error "
            f"{network['mse']:.4f} (variance of the scores {network['label_variance']:.4f}); "
            f"Spearman correlation with survival: {spearman}.",
            "",
            "Share of the weights in IRP's mask that a score also keeps, in per cent, by density "
            "(chance gives the density):",
            "",
            *overlap_table(network),
            "",
        ]
    return "\n".join(lines)


def accuracy_section(results: Results, confidence: float) -> list[str]:
    """Markdown: the comparison of criteria on every target."""
    lines = [
        "Test accuracy in per cent after the last epoch, mean ± standard deviation over seeds; "
        "bold is the highest mean. For a seed all criteria start from the same weights, and for a "
        "target all train by the same recipe. The best hand-made criterion is the one with the "
        "highest validation accuracy; the difference to it is paired by seed.",
        "",
        "![Accuracy against density](accuracy.png)",
        "",
    ]
    for target in results.targets:
        lines += [f"### {target}", ""]
        if dense := results.cells[target].get(DENSE):
            accuracy = results.accuracy(target, DENSE, 1.0)
            total = next(iter(dense[1.0].values()))["total"]
            lines += [f"Dense: {accuracy.percent()} ({total:,} weights, n = {accuracy.n}).", ""]
        lines += [*accuracy_table(results, target), ""]
        if table := difference_table(results, target, confidence):
            lines += [*table, ""]
    return lines


def _rounded(spread: Spread) -> dict[str, float]:
    figures = {"mean": round(spread.mean, 6)}
    if spread.n > 1:
        figures["std"] = round(spread.std, 6)
    return figures


def _percent(density: float) -> str:
    return f"{100 * density:.3g} %"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
