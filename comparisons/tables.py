"""The tables and plots of each comparison, from the results of its runs."""

from collections.abc import Callable, Mapping
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

from pipeline import plots
from pipeline.analyses.concordance import concordance
from pipeline.files import read_json
from pipeline.report import (
    DENSE,
    Results,
    accuracy_table,
    before_table,
    cost_table,
    sanity_table,
)
from pipeline.survival import read_survival

CONFIDENCE = 0.95

Folders = Mapping[str, Path]
"""What each run has left."""


def rare_gems(runs: Folders, plot: Path) -> list[str]:
    results, masks = read(runs["compare"])
    return [*accuracies(results, plot), *checks(results), *costs(results, masks)]


def dynamic(runs: Folders, plot: Path) -> list[str]:
    results, masks = read(runs["compare"])
    return [*accuracies(results, plot), *costs(results, masks)]


def jackpots(runs: Folders, plot: Path) -> list[str]:
    results, masks = read(runs["search"])
    lines = [*accuracies(results, plot), "Share of positions that the mask has in common with the"]
    lines[-1] += " magnitude mask (both keep or both prune), in per cent:"
    return [*lines, "", *costs(results, masks)]


def pretrained(runs: Folders, plot: Path) -> list[str]:
    lines = []
    for run in ("from_pretrained", "from_random"):
        results, masks = read(runs[run])
        title = run.replace("_", " ")
        lines += [f"## Start: {title}", "", *accuracies(results, plot.with_name(f"{plot.name}_{run}"))]
        lines += costs(results, masks)
    return lines


def autos(runs: Folders, plot: Path) -> list[str]:
    """One row per way of training the predictor, then concordance of surviving scores."""
    lines = []
    first, _ = read(next(iter(runs.values())))
    for target in first.targets:
        rows = []
        for run, folder in runs.items():
            results, _ = read(folder)
            criteria = results.criteria(target) if folder is runs["both"] else ["autos"]
            for criterion in criteria:
                name = f"AutoS, {run}" if criterion == "autos" else criterion
                cells = [results.accuracy(target, criterion, d) for d in results.densities(target)]
                rows.append([name, *(cell.percent() for cell in cells)])
        lines += [f"### {target}", "", *rows_table(first, target, rows), ""]
    return lines


TABLES: dict[str, Callable[[Folders, Path], list[str]]] = {
    "rare_gems": rare_gems,
    "jackpots": jackpots,
    "pretrained": pretrained,
    "autos": autos,
    "dynamic": dynamic,
}
