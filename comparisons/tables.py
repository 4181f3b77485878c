"""The tables and plots of each comparison, from the results of its runs."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path

from matplotlib.figure import Figure

from autos.analyses.concordance import concordance
from autos.analyses.overlap import joined, overlap
from autos.grid.cell import MaskRow, MaskTable, ResultRow, ResultTable, Seconds
from autos.irp.survival import Survival, read_survival
from autos.masks.mask import Mask
from autos.report import plots
from autos.report.results import AUTOS, DENSE, Difference, Results, Spread
from autos.report.tables import accuracy_table, before_table, cost_table, sanity_table, table
from autos.storage.files import write_json
from comparisons.accuracy import (
    CONFIDENCE,
    MEAN,
    SYNFLOW,
    Comparison,
    comparisons,
    pooled,
    record,
    seconds,
)
from comparisons.bands import bands

Folders = Mapping[str, Path]
"""Folder of what each run has left, by the name of the run."""


def rare_gems(runs: Folders, plot: Path) -> list[str]:
    """Show accuracies, sanity checks, and what masks cost."""
    results, masks = read(runs["compare"])
    lines = accuracies(results, plot)
    for target in results.targets:
        lines += ["### Sanity checks", "", *sanity_table(results, target, CONFIDENCE), ""]
    return [*lines, *costs(results, masks)]


def dynamic(runs: Folders, plot: Path) -> list[str]:
    """Show accuracies, and what masks cost."""
    results, masks = read(runs["compare"])
    return [*accuracies(results, plot), *costs(results, masks)]


def pretrained(runs: Folders, plot: Path) -> list[str]:
    """Show accuracies and costs, from pre-trained and from random weights."""
    lines: list[str] = []
    for run in ("from_pretrained", "from_random"):
        results, masks = read(runs[run])
        lines += [f"## {run.replace('_', ' ').capitalize()} weights", ""]
        lines += accuracies(results, plot.with_name(f"{plot.name}_{run}"))
        lines += costs(results, masks)
    return lines


def jackpots(runs: Folders, plot: Path) -> list[str]:
    """Show accuracy of the searched masks, and how many positions they share with magnitude's."""
    results, masks = read(runs["search"])
    (target,) = results.targets
    (density,) = results.densities(target)
    before = results.spread(target, "magnitude", density, "test_accuracy_before")
    rows = [["magnitude", "0", before.percent(), "100.0"]]
    for method in results.methods(target):
        if method != "magnitude":
            start, epochs = method.split("_")
            accuracy = results.accuracy(target, method, density)
            shared = Spread.of(shared_with_magnitude(runs["search"], masks, method))
            rows.append([start, epochs, accuracy.percent(), shared.percent()])
    dense = results.accuracy(target, DENSE, 1.0).percent()
    head = ["start of the search", "epochs", "test accuracy (%)", "positions as magnitude's (%)"]
    return [
        *table(head, rows),
        "",
        f"Weights are those of the pre-trained network, and no search changes them. Two random "
        f"masks of this density share {100 * (1 - 2 * density * (1 - density)):.1f} % of the "
        f"positions. The dense network, trained on by the same recipe: {dense}.",
    ]


def autos(runs: Folders, plot: Path) -> list[str]:
    """Show a row per way of training the predictor, and the concordance of surviving scores."""
    first, *others = [run for run in runs if run != "concordance"]
    results, _ = read(runs[first])
    lines: list[str] = []
    for target in results.targets:
        densities = results.densities(target)

        def row(name: str, found: Results, method: str, target: str = target) -> list[str]:
            return [
                name,
                *(
                    found.accuracy(target, method, density).percent()
                    for density in found.densities(target)
                ),
            ]

        rows = [
            row(name, results, name) for name in results.methods(target) if name != "autos_paper"
        ]
        rows.append(row(f"paper: {first}", results, "autos_paper"))
        rows += [row(f"paper, {run}", read(runs[run])[0], "autos_paper") for run in others]
        lines += [*table([target, *(f"{100 * d:g} %" for d in densities)], rows), ""]
    scores = read_survival(runs["concordance"] / "survival.zarr")
    return [*lines, "### Concordance of surviving scores", "", *concordances(scores)]


def concordances(networks: Mapping[str, Survival]) -> list[str]:
    """Show the concordance of two runs of IRP from the same and from another initialisation.

    It is Table 9 of the AutoS paper.
    """
    criteria = [name for name in networks if "_" not in name]

    def agreement(first: str, second: str) -> str:
        one, two = networks[first], networks[second]
        return f"{concordance(one.survival / one.rounds, two.survival / two.rounds):.3f}"

    rows = []
    for first, second in combinations_with_replacement(criteria, 2):
        same = f"{second}_repeated" if first == second else second
        rows.append(
            [
                f"{first}, {second}",
                agreement(first, same),
                agreement(first, f"{second}_other"),
            ]
        )
    return table(["criteria", "same initialisation", "another initialisation"], rows)


MAIN = ("compare", "compare above 1 %", "sanity")
"""Runs of all methods in `accuracy`; in other runs AutoS is learned in another way."""


def accuracy(runs: Folders, plot: Path) -> list[str]:
    """Show all methods over all targets, AutoS against the best of them, checks and times."""
    results, dense_enough, sanity = (read(runs[run])[0] for run in MAIN)
    variants = {run: pooled(read(runs[run])[0]) for run in runs if run not in MAIN}
    everything = Results(read_rows(runs["compare"]) + read_rows(runs["compare above 1 %"]))
    networks = MaskTable.load(runs["compare"] / "masks/masks.json").targets
    times = seconds(Seconds.load(runs["compare"] / "seconds/prune.json").units)
    image_sets = {target: network["images"] for target, network in networks.items()}
    write_json(plot.with_suffix(".json"), record(everything, sanity, image_sets, times))
    mean = pooled(results)
    save(bands(mean, results), plot.with_suffix(".png"))
    lines = [
        "### Mean over targets",
        "",
        f"![Accuracy against density]({plot.name}.png)",
        "",
        f"Dense: {mean.accuracy(MEAN, DENSE, 1.0).percent()}.",
        "",
        *accuracy_table(mean, MEAN),
        "",
        "Two more, which fix the density of the last layer, cannot reach 1 % of ShuffleNetV2:",
        "",
        *accuracy_table(pooled(dense_enough), MEAN),
        "",
        "### AutoS minus the best hand-made score",
        "",
        *comparison_table(list(comparisons(everything))),
        "",
        "### Other positions, other weights",
        "",
        *sanity_table(pooled(sanity), MEAN, CONFIDENCE),
        "",
        "### AutoS learned from less, or otherwise",
        "",
        *variant_table(variants, mean),
        "",
    ]
    for target in results.targets:
        dense = results.accuracy(target, DENSE, 1.0).percent()
        lines += [f"### {target}", "", f"{image_sets[target]}, dense: {dense}.", ""]
        lines += [*accuracy_table(results, target), ""]
    return [*lines, "### Time to find a mask", "", *seconds_table(times)]


def variant_table(variants: Mapping[str, Results], whole: Results) -> list[str]:
    """Show mean accuracy over the targets, and its difference to that of the whole AutoS."""
    densities = next(iter(variants.values())).densities(MEAN)
    rows = []
    for run, results in variants.items():
        cells = [run]
        for density in densities:
            pair = results.rows[MEAN][AUTOS][density], whole.rows[MEAN][AUTOS][density]
            difference = Difference.of(pair[0], AUTOS, pair[1], CONFIDENCE)
            accuracy = results.accuracy(MEAN, AUTOS, density).percent()
            cells.append(f"{accuracy}, {100 * difference.mean:+.1f} {difference.interval()}")
        rows.append(cells)
    return table(["AutoS", *(f"{100 * density:g} %" for density in densities)], rows)


def paper_scale(runs: Folders, plot: Path) -> list[str]:
    """Show accuracies of every target and method, and what masks cost."""
    results, masks = read(runs["compare"])
    return [*accuracies(results, plot), *costs(results, masks)]


def comparison_table(found: Sequence[Comparison]) -> list[str]:
    """Show differences in percentage points, and how much of the gap to IRP is closed."""
    rows = []
    for each in found:
        if each.gap is None:
            closed = "n/a"
        elif each.closed is None:
            closed = f"none: IRP is {100 * each.gap:+.1f}"
        elif each.closed < 0:
            closed = f"none of {100 * each.gap:.1f}"
        else:
            closed = f"{100 * each.closed:.0f} % of {100 * each.gap:.1f}"
        mean = f"{100 * each.seeds.mean:+.1f}"
        intervals = each.seeds.interval(), each.pairs.interval()
        rows.append([f"{100 * each.density:g} %", each.ours, each.best, mean, *intervals, closed])
    head = [
        "density",
        "ours",
        "best hand-made",
        "difference",
        f"{CONFIDENCE:.0%} interval over seeds",
        "over targets and seeds",
        "gap to IRP closed",
    ]
    return table(head, rows)


def seconds_table(times: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Show times to find a mask, in units of SynFlow's time on the same target."""
    unit = times[SYNFLOW]
    rows = [
        [method, *(f"{by_target[target] / unit[target]:,.2f}" for target in unit)]
        for method, by_target in times.items()
    ]
    rows.append(["SynFlow (seconds)", *(f"{value:.2g}" for value in unit.values())])
    return table(["times SynFlow's", *unit], rows)


TABLES: dict[str, Callable[[Folders, Path], list[str]]] = {
    "rare_gems": rare_gems,
    "jackpots": jackpots,
    "pretrained": pretrained,
    "autos": autos,
    "dynamic": dynamic,
    "accuracy": accuracy,
    "paper_scale": paper_scale,
}
"""Functions of the folders of the runs, and of the path of a plot without its ending, that return
the lines of a document in Markdown, by the name of the comparison."""


def read_rows(folder: Path) -> list[ResultRow]:
    """Return what was measured in a run."""
    return ResultTable.load(folder / "finetuned/results.json").cells


def read(folder: Path) -> tuple[Results, Sequence[MaskRow]]:
    """Return results and masks of a run."""
    masks = MaskTable.load(folder / "masks/masks.json").masks
    return Results(read_rows(folder)), masks


def accuracies(results: Results, plot: Path) -> list[str]:
    """Show accuracy after training, and before it for mask search.

    A plot is written beside the document.
    """
    save(plots.accuracy(results), plot.with_suffix(".png"))
    lines = [f"![Accuracy against density]({plot.name}.png)", ""]
    for target in results.targets:
        dense = results.accuracy(target, DENSE, 1.0).percent()
        lines += [f"{target}, dense: {dense}.", "", *accuracy_table(results, target), ""]
        if before := before_table(results, target):
            lines += ["Before training, for methods that search for masks:", "", *before, ""]
    return lines


def costs(results: Results, masks: Sequence[MaskRow]) -> list[str]:
    """Show what finding the masks did cost."""
    lines = ["To find a mask, averaged over the densities:", ""]
    for target in results.targets:
        lines += [*cost_table(masks, target), ""]
    return lines


def shared_with_magnitude(folder: Path, masks: Sequence[MaskRow], method: str) -> list[float]:
    """Return, for every seed, the share of positions on which a mask agrees with magnitude's."""

    def load(name: str, seed: int) -> Mask:
        (file,) = [row.file for row in masks if (row.method, row.seed) == (name, seed)]
        return Mask.load(folder / "masks" / file)[0]

    seeds = sorted({row.seed for row in masks})
    return [
        joined(overlap(load("magnitude", seed), load(method, seed))).agreement for seed in seeds
    ]


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a file that holds no date or version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
