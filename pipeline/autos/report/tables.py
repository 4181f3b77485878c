"""The report of a run in Markdown: accuracy by method, sanity checks, costs, and predictors."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from autos.grid.cell import DENSE, MaskCost, MaskRow
from autos.report.results import SEARCH, Difference, Results


def accuracy_table(results: Results, target: str) -> list[str]:
    """Show test accuracy in per cent, a row per method and a column per density."""
    densities = results.densities(target)
    best = {
        d: max(results.accuracy(target, c, d).mean for c in results.methods(target))
        for d in densities
    }
    rows = []
    for method in results.methods(target):
        spreads = {d: results.accuracy(target, method, d) for d in densities}
        columns = [f"**{s.percent()}**" if s.mean == best[d] else s.percent()
                   for d, s in spreads.items()]  # fmt: skip
        rows.append([method, *columns])
    return table(["method", *map(_percent, densities)], rows)


def difference_table(results: Results, target: str, confidence: float) -> list[str]:
    """Show AutoS minus the best hand-made score, in percentage points."""
    rows = []
    for density in results.densities(target):
        found = results.difference(target, density, confidence)
        if found:
            mean = f"{100 * found.mean:+.1f}"
            rows.append([_percent(density), found.other, mean, found.interval()])
    head = ["density", "best hand-made", "AutoS minus best", f"{confidence:.0%} interval"]
    return table(head, rows) if rows else []


def sanity_table(results: Results, target: str, confidence: float) -> list[str]:
    """Show what each sanity check takes away in percentage points, and what that tells."""
    rows = []
    for method in results.methods(target):
        for density in results.densities(target):
            losses = {
                check: results.loss_by(check, target, method, density, confidence)
                for check in results.checks
            }
            if not any(losses.values()):
                continue
            columns = [loss.points() if loss else "n/a" for loss in losses.values()]
            accuracy = results.accuracy(target, method, density).percent()
            shuffled = losses.get("shuffle")
            told = verdict(shuffled) if shuffled else "n/a"
            rows.append([method, _percent(density), accuracy, *columns, told])
    head = ["method", "density", "accuracy", *results.checks, "what matters"]
    return table(head, rows)


def verdict(shuffled: Difference) -> str:
    """Word what follows from the loss by shuffling a mask within its layers."""
    if math.isnan(shuffled.low):
        return "one seed cannot tell"
    return "positions" if shuffled.low > 0 else "layer densities only"


def before_table(results: Results, target: str) -> list[str]:
    """Show test accuracy in per cent before training, of methods that search for masks."""
    rows = [
        [
            method,
            *(
                results.spread(target, method, d, "test_accuracy_before").percent()
                for d in results.densities(target)
            ),
        ]
        for method in results.methods(target)
        if results.kind(target, method) == SEARCH
    ]
    head = ["method", *map(_percent, results.densities(target))]
    return table(head, rows) if rows else []


def cost_table(masks: Sequence[MaskRow], target: str) -> list[str]:
    """Show what finding a mask did cost, averaged over the masks of each method."""
    costs: dict[str, list[MaskCost]] = defaultdict(list)
    for mask in masks:
        if mask.target == target and not mask.check and mask.cost:
            costs[mask.method].append(mask.cost)
    kinds = {mask.method: mask.kind for mask in masks}
    rows = [
        [
            method,
            kinds[method],
            f"{fmean(cost.forward for cost in each):,.0f}",
            f"{fmean(cost.backward for cost in each):,.0f}",
            f"{fmean(cost.epochs for cost in each):.2f}",
            f"{fmean(cost.flops for cost in each):.2g}",
        ]
        for method, each in costs.items()
    ]
    head = ["method", "kind", "forward", "backward", "epochs", "operations"]
    return table(head, rows)


def flops_table(results: Results, target: str) -> list[str]:
    """Show the operations of a forward pass, in per cent of those of the dense network."""
    rows = []
    for method in results.methods(target):
        shares = [
            results.spread(target, method, d, "flops").mean
            / results.spread(target, method, d, "dense_flops").mean
            for d in results.densities(target)
        ]
        rows.append([method, *(f"{100 * share:.1f}" for share in shares)])
    return table(["method", *map(_percent, results.densities(target))], rows)


def overlap_table(network: Mapping[str, Any]) -> list[str]:
    """Show the share of IRP's mask that each score also keeps, on held-out weights.

    Args:
        network: What was measured on one source, with "densities" and "overlap".
    """
    scores = list(network["overlap"])
    rows = [
        [_percent(density), *(f"{100 * network['overlap'][c][i]:.1f}" for c in scores)]
        for i, density in enumerate(network["densities"])
    ]
    return table(["density", *scores], [*rows[:: max(1, len(rows) // 5)][:-1], rows[-1]])


def markdown(
    results: Results,
    masks: Sequence[MaskRow],
    coefficients: Mapping[str, float],
    paper: Mapping[str, Any],
    confidence: float,
) -> str:
    """Write the report of a run.

    Args:
        results: What was measured of the sparse networks.
        masks: Rows of all masks.
        coefficients: Coefficients of AutoS, by feature.
        paper: What was measured of the paper's predictor.
        confidence: Confidence of the intervals, in (0, 1).
    """
    lines = ["# Sparse networks compared", "", *accuracy_section(results, confidence)]
    if results.checks:
        lines += [*sanity_section(results, confidence)]
    lines += [*cost_section(results, masks)]
    lines += ["## What the masks keep", "", "![Layer densities](layer_densities.png)", ""]
    for mask in masks:
        if mask.empty_layers:
            lines.append(f"- `{mask.file}` keeps nothing in {', '.join(mask.empty_layers)}")
    for target, share in {mask.target: mask.coverage for mask in masks if mask.coverage}.items():
        lines.append(f"- masks of `{target}` cover {100 * share:.1f} % of the network's weights")
    lines += ["", "## What AutoS learned", ""]
    lines += ["The log-odds of a weight's survival are a sum of its features, times:", ""]
    lines += table(list(coefficients), [[f"{value:+.3f}" for value in coefficients.values()]])
    lines += ["", "## What the paper's predictor learned", ""]
    lines += ["![Predicted survival by weight and gradient](paper_map.png)", ""]
    lines += ["![Predicted and true survival](survival.png)", ""]
    for name, network in paper["networks"].items():
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
    """Write the section that compares the methods on every target."""
    lines = [
        "Test accuracy in per cent after the last epoch, mean ± standard deviation over seeds; "
        "bold is the highest mean. For a seed all methods start from the same weights, and for a "
        "target all train by the same recipe. The best hand-made score is the one with the "
        "highest validation accuracy; the difference to it is paired by seed.",
        "",
        "![Accuracy against density](accuracy.png)",
        "",
    ]
    for target in results.targets:
        lines += [f"### {target}", ""]
        if dense := results.rows[target].get(DENSE):
            accuracy = results.accuracy(target, DENSE, 1.0)
            total = next(iter(dense[1.0].values())).total
            lines += [f"Dense: {accuracy.percent()} ({total:,} weights, n = {accuracy.n}).", ""]
        lines += [*accuracy_table(results, target), ""]
        if differences := difference_table(results, target, confidence):
            lines += [*differences, ""]
        if before := before_table(results, target):
            lines += ["Before training, for methods that search for masks:", "", *before, ""]
    return lines


def sanity_section(results: Results, confidence: float) -> list[str]:
    """Write the section on what the sanity checks take away from every method."""
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


def cost_section(results: Results, masks: Sequence[MaskRow]) -> list[str]:
    """Write the section on the cost of finding a mask and of running the sparse network."""
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


def _percent(density: float) -> str:
    return f"{100 * density:.3g} %"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Make the lines of a Markdown table; all columns but the first are aligned to the right."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]
