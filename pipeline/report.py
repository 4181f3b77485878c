"""From the results of all cells to tables: accuracy per criterion, and AutoS against the best."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from scipy.special import stdtrit

AUTOS, DENSE = "autos", "dense"
SCORE, SEARCH = "score", "search"
"""Kinds of methods."""

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
    """One minus another, in test accuracy, paired by seed or by whatever cells are named by.

    Attributes:
        other: what the difference is to.
        low, high: confidence interval of the mean (Student's t; NaN with one pair).
        n: number of pairs.
    """

    other: str
    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(
        cls,
        ours: Mapping[Any, Cell],
        other: str,
        theirs: Mapping[Any, Cell],
        confidence: float,
    ) -> "Difference":
        paired = [ours[name]["test_accuracy"] - theirs[name]["test_accuracy"] for name in ours]
        mean, half = fmean(paired), math.nan
        if len(paired) > 1:
            half = stdtrit(len(paired) - 1, (1 + confidence) / 2) * stdev(paired)
            half /= math.sqrt(len(paired))
        return cls(other, mean, mean - half, mean + half, len(paired))

    def interval(self) -> str:
        """In percentage points."""
        if math.isnan(self.low):
            return "n/a"
        return f"[{100 * self.low:+.1f}, {100 * self.high:+.1f}]"

    def points(self) -> str:
        """The mean in percentage points, with the interval if there is one."""
        mean = f"{100 * self.mean:+.1f}"
        return mean if math.isnan(self.low) else f"{mean} {self.interval()}"


class Results:
    """All cells of results.json, by target, criterion, density and seed.

    Attributes:
        checks: the cells of each sanity check, which are not among `cells`.
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.cells: dict[str, dict[str, dict[float, dict[int, Cell]]]] = defaultdict(
            lambda: defaultdict(lambda: defaultdict(dict))
        )
        checks: dict[str, list[Cell]] = defaultdict(list)
        for cell in cells:
            if cell["check"]:
                checks[cell["check"]].append({**cell, "check": None})
            else:
                by_density = self.cells[cell["target"]][cell["criterion"]]
                by_density[cell["density"]][cell["seed"]] = cell
        self.checks = {check: Results(those) for check, those in checks.items()}

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

    def kind(self, target: str, criterion: str) -> str:
        """See `pipeline.method.Kind`; trained predictors are of the kind "predictor"."""
        by_seed = next(iter(self.cells[target][criterion].values()))
        return next(iter(by_seed.values()))["kind"]

    def difference(self, target: str, density: float, confidence: float) -> Difference | None:
        """AutoS against the best hand-made score; None if there is no AutoS or no other.

        The best is the one with the highest validation accuracy, averaged over seeds.
        """
        others = [name for name in self.criteria(target) if self.kind(target, name) == SCORE]
        if AUTOS not in self.cells[target] or not others:
            return None

        def validation(criterion: str) -> float:
            cells = self.cells[target][criterion][density].values()
            return fmean(cell["validation_accuracy"][-1] for cell in cells)

        best = max(others, key=validation)
        ours, theirs = (self.cells[target][name][density] for name in (AUTOS, best))
        return Difference.of(ours, best, theirs, confidence)

    def loss_by(
        self, check: str, target: str, criterion: str, density: float, confidence: float
    ) -> Difference | None:
        """What a sanity check takes away; None if there is no such check of the criterion."""
        theirs = self.checks[check].cells[target][criterion].get(density)
        if not theirs:
            return None
        return Difference.of(self.cells[target][criterion][density], check, theirs, confidence)


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
                figures = {"best": difference.other, "mean": round(difference.mean, 6)}
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
    return table(["criterion", *map(_percent, densities)], rows)


def difference_table(results: Results, target: str, confidence: float) -> list[str]:
    """Markdown: AutoS minus the best hand-made criterion, in percentage points."""
    rows = []
    for density in results.densities(target):
        found = results.difference(target, density, confidence)
        if found:
            mean = f"{100 * found.mean:+.1f}"
            rows.append([_percent(density), found.other, mean, found.interval()])
    head = ["density", "best hand-made", "AutoS minus best", f"{confidence:.0%} interval"]
    return table(head, rows) if rows else []


def sanity_table(results: Results, target: str, confidence: float) -> list[str]:
    """Markdown: what each check takes away in percentage points, and what that tells."""
    rows = []
    for criterion in results.criteria(target):
        for density in results.densities(target):
            losses = {
                check: results.loss_by(check, target, criterion, density, confidence)
                for check in results.checks
            }
            if not any(losses.values()):
                continue
            cells = [loss.points() if loss else "n/a" for loss in losses.values()]
            accuracy = results.accuracy(target, criterion, density).percent()
            shuffled = losses.get("shuffle")
            told = verdict(shuffled) if shuffled else "n/a"
            rows.append([criterion, _percent(density), accuracy, *cells, told])
    head = ["criterion", "density", "accuracy", *results.checks, "what matters"]
    return table(head, rows)


def verdict(shuffled: Difference) -> str:
    """What follows from the loss by shuffling a mask within its layers."""
    if math.isnan(shuffled.low):
        return "one seed cannot tell"
    return "positions" if shuffled.low > 0 else "layer densities only"


def before_table(results: Results, target: str) -> list[str]:
    """Markdown: test accuracy in per cent before training, of methods that search for masks."""
    rows = [
        [
            criterion,
            *(
                results.spread(target, criterion, d, "test_accuracy_before").percent()
                for d in results.densities(target)
            ),
        ]
        for criterion in results.criteria(target)
        if results.kind(target, criterion) == SEARCH
    ]
    head = ["criterion", *map(_percent, results.densities(target))]
    return table(head, rows) if rows else []


def cost_table(masks: Sequence[Cell], target: str) -> list[str]:
    """Markdown: passes through the network that finding a mask took, averaged over its masks."""
    costs: dict[str, list[Mapping[str, float]]] = defaultdict(list)
    for mask in masks:
        if mask["target"] == target and not mask["check"]:
            costs[mask["criterion"]].append(mask["cost"])
    kinds = {mask["criterion"]: mask["kind"] for mask in masks}
    rows = [
        [
            criterion,
            kinds[criterion],
            *(f"{fmean(cost[key] for cost in each):,.0f}" for key in ("forward", "backward")),
            f"{fmean(cost['epochs'] for cost in each):.2f}",
            f"{fmean(cost['flops'] for cost in each):.2g}",
        ]
        for criterion, each in costs.items()
    ]
    head = ["criterion", "kind", "forward", "backward", "epochs", "operations"]
    return table(head, rows)


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
    return table(["criterion", *map(_percent, results.densities(target))], rows)


def overlap_table(network: Mapping[str, Any]) -> list[str]:
    """Markdown: share of IRP's mask that each score also keeps, on held-out weights."""
    criteria = list(network["overlap"])
    rows = [
        [_percent(density), *(f"{100 * network['overlap'][c][i]:.1f}" for c in criteria)]
        for i, density in enumerate(network["densities"])
    ]
    return table(["density", *criteria], [*rows[:: max(1, len(rows) // 5)][:-1], rows[-1]])


def markdown(
    results: Results,
    masks: Sequence[Cell],
    coefficients: Mapping[str, float],
    predictor: Mapping[str, Any],
    confidence: float,
) -> str:
    """The report of a run.

    Args:
        coefficients: of AutoS, by feature.
        predictor: what was measured of the paper's predictor.
    """
    lines = ["# Sparse networks compared", "", *accuracy_section(results, confidence)]
    if results.checks:
        lines += [*sanity_section(results, confidence)]
    lines += [*cost_section(results, masks)]
    lines += ["## What the masks keep", "", "![Layer densities](layer_densities.png)", ""]
    for mask in masks:
        if empty := mask["empty_layers"]:
            lines.append(f"- `{mask['file']}` keeps nothing in {', '.join(empty)}")
    lines += ["", "## What AutoS learned", ""]
    lines += ["The log-odds of a weight's survival are a sum of its features, times:", ""]
    lines += table(list(coefficients), [[f"{value:+.3f}" for value in coefficients.values()]])
    lines += ["", "## What the paper's predictor learned", ""]
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
        if differences := difference_table(results, target, confidence):
            lines += [*differences, ""]
        if before := before_table(results, target):
            lines += ["Before training, for methods that search for masks:", "", *before, ""]
    return lines


def sanity_section(results: Results, confidence: float) -> list[str]:
    """Markdown: what the checks take away from every method."""
    lines = [
        "## Sanity checks",
        "",
        "Accuracy of the method minus that of the check, in percentage points with "
        f"{confidence:.0%} intervals, paired by seed. `shuffle` moves the kept weights to random "
        "places of their layers, `reinitialise` permutes the weights of each layer under the mask, "
        "`random_ticket` does both, `invert` keeps the lowest scores. If shuffling costs nothing "
        "that the interval can tell from zero, the mask has found layer densities only.",
        "",
    ]
    for target in results.targets:
        lines += [f"### {target}", "", *sanity_table(results, target, confidence), ""]
    return lines


def cost_section(results: Results, masks: Sequence[Cell]) -> list[str]:
    """Markdown: what finding a mask costs, and what a pass through the sparse network does."""
    lines = [
        "## Cost",
        "",
        "To find a mask: samples that passed forward and backward, backward passes in units of the "
        "training set, and operations if nothing is skipped (a backward pass counts as two "
        "forward). Then operations of a forward pass through the sparse network, in per cent of "
        "the dense one's.",
        "",
    ]
    for target in results.targets:
        lines += [f"### {target}", "", *cost_table(masks, target), ""]
        lines += [*flops_table(results, target), ""]
    return lines


def _rounded(spread: Spread) -> dict[str, float]:
    figures = {"mean": round(spread.mean, 6)}
    if spread.n > 1:
        figures["std"] = round(spread.std, 6)
    return figures


def _percent(density: float) -> str:
    return f"{100 * density:.3g} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown, a line each; numbers to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
