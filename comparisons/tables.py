"""The tables and plots of each comparison, from the results of its runs."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

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
from pipeline import plots
from pipeline.analyses.concordance import concordance
from pipeline.analyses.overlap import joined, overlap
from pipeline.files import read_json, write_json
from pipeline.masks import Mask
from pipeline.report import (
    AUTOS,
    DENSE,
    Difference,
    Results,
    Spread,
    accuracy_table,
    before_table,
    cost_table,
    sanity_table,
    table,
)
from pipeline.survival import Survival, read_survival

Folders = Mapping[str, Path]
"""What each run has left."""


def rare_gems(runs: Folders, plot: Path) -> list[str]:
    results, masks = read(runs["compare"])
    lines = accuracies(results, plot)
    for target in results.targets:
        lines += ["### Sanity checks", "", *sanity_table(results, target, CONFIDENCE), ""]
    return [*lines, *costs(results, masks)]


def dynamic(runs: Folders, plot: Path) -> list[str]:
    results, masks = read(runs["compare"])
    return [*accuracies(results, plot), *costs(results, masks)]


def pretrained(runs: Folders, plot: Path) -> list[str]:
    lines: list[str] = []
    for run in ("from_pretrained", "from_random"):
        results, masks = read(runs[run])
        lines += [f"## {run.replace('_', ' ').capitalize()} weights", ""]
        lines += accuracies(results, plot.with_name(f"{plot.name}_{run}"))
        lines += costs(results, masks)
    return lines


def jackpots(runs: Folders, plot: Path) -> list[str]:
    """Accuracy of the searched masks, and how many positions they share with magnitude's."""
    results, masks = read(runs["search"])
    (target,) = results.targets
    (density,) = results.densities(target)
    before = results.spread(target, "magnitude", density, "test_accuracy_before")
    rows = [["magnitude", "0", before.percent(), "100.0"]]
    for criterion in results.criteria(target):
        if criterion != "magnitude":
            start, epochs = criterion.split("_")
            accuracy = results.accuracy(target, criterion, density)
            shared = Spread.of(shared_with_magnitude(runs["search"], masks, criterion))
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
    """A row per way of training the predictor, then the concordance of surviving scores."""
    first, *others = [run for run in runs if run != "concordance"]
    results, _ = read(runs[first])
    lines: list[str] = []
    for target in results.targets:
        densities = results.densities(target)

        def row(name: str, found: Results, criterion: str, target: str = target) -> list[str]:
            return [
                name,
                *(
                    found.accuracy(target, criterion, density).percent()
                    for density in found.densities(target)
                ),
            ]

        rows = [
            row(name, results, name) for name in results.criteria(target) if name != "autos_paper"
        ]
        rows.append(row(f"AutoS: {first}", results, "autos_paper"))
        rows += [row(f"AutoS, {run}", read(runs[run])[0], "autos_paper") for run in others]
        lines += [*table([target, *(f"{100 * d:g} %" for d in densities)], rows), ""]
    scores = read_survival(runs["concordance"] / "survival.zarr")
    return [*lines, "### Concordance of surviving scores", "", *concordances(scores)]


def concordances(networks: Mapping[str, Survival]) -> list[str]:
    """Markdown, AutoS Table 9: two runs from the same and from another initialisation."""
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
"""Runs of `accuracy`; the others are of AutoS learned in another way."""


def accuracy(runs: Folders, plot: Path) -> list[str]:
    """All methods over all targets, AutoS against the best of them, sanity checks and times."""
    results, dense_enough, sanity = (read(runs[run])[0] for run in MAIN)
    variants = {run: pooled(read(runs[run])[0]) for run in runs if run not in MAIN}
    everything = Results(read_cells(runs["compare"]) + read_cells(runs["compare above 1 %"]))
    networks = read_json(runs["compare"] / "masks/masks.json")["targets"]
    times = seconds(read_json(runs["compare"] / "prune_seconds.json"))
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
        "### AutoS minus the best hand-made criterion",
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
    """Markdown: accuracy over the targets, and its difference to that of the whole AutoS."""
    densities = next(iter(variants.values())).densities(MEAN)
    rows = []
    for run, results in variants.items():
        cells = [run]
        for density in densities:
            pair = results.cells[MEAN][AUTOS][density], whole.cells[MEAN][AUTOS][density]
            difference = Difference.of(pair[0], AUTOS, pair[1], CONFIDENCE)
            accuracy = results.accuracy(MEAN, AUTOS, density).percent()
            cells.append(f"{accuracy}, {100 * difference.mean:+.1f} {difference.interval()}")
        rows.append(cells)
    return table(["AutoS", *(f"{100 * density:g} %" for density in densities)], rows)


def paper_scale(runs: Folders, plot: Path) -> list[str]:
    """Accuracies of every target and method, and what masks cost."""
    results, masks = read(runs["compare"])
    return [*accuracies(results, plot), *costs(results, masks)]


def comparison_table(found: Sequence[Comparison]) -> list[str]:
    """Markdown, in percentage points; and how much of the gap to IRP is closed."""
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
    """Markdown: in units of SynFlow's time on the same target."""
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


def read_cells(folder: Path) -> list[Mapping[str, Any]]:
    """What was measured in a run."""
    cells: list[Mapping[str, Any]] = read_json(folder / "finetuned/results.json")["cells"]
    return cells


def read(folder: Path) -> tuple[Results, Sequence[Mapping[str, Any]]]:
    """Results and masks of a run."""
    results = Results(read_cells(folder))
    return results, read_json(folder / "masks/masks.json")["masks"]


def accuracies(results: Results, plot: Path) -> list[str]:
    """Accuracy after training, and before it for mask search; a plot beside the document."""
    save(plots.accuracy(results), plot.with_suffix(".png"))
    lines = [f"![Accuracy against density]({plot.name}.png)", ""]
    for target in results.targets:
        dense = results.accuracy(target, DENSE, 1.0).percent()
        lines += [f"{target}, dense: {dense}.", "", *accuracy_table(results, target), ""]
        if before := before_table(results, target):
            lines += ["Before training, for methods that search for masks:", "", *before, ""]
    return lines


def costs(results: Results, masks: Sequence[Mapping[str, Any]]) -> list[str]:
    """What finding the masks took."""
    lines = ["To find a mask, averaged over the densities:", ""]
    for target in results.targets:
        lines += [*cost_table(masks, target), ""]
    return lines


def shared_with_magnitude(
    folder: Path, masks: Sequence[Mapping[str, Any]], criterion: str
) -> list[float]:
    """Share of positions per seed."""

    def load(name: str, seed: int) -> Mask:
        (file,) = [m["file"] for m in masks if (m["criterion"], m["seed"]) == (name, seed)]
        return Mask.load(folder / "masks" / file)[0]

    seeds = sorted({mask["seed"] for mask in masks})
    return [
        joined(overlap(load("magnitude", seed), load(criterion, seed))).agreement for seed in seeds
    ]


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None}, bbox_inches="tight")
