"""Accuracy against density: a few methods in colour with bands, all others in thin grey."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autos.report.plots import density_axis
from autos.report.results import DENSE, Results

COLUMNS = 3
"""Number of panels in a row."""

STYLES: Mapping[str, Mapping[str, Any]] = {
    "irp": {"color": "#cc79a7", "linestyle": "--", "marker": "D"},
    "autos": {"color": "black", "linewidth": 2.4, "marker": "o"},
    "autos_paper": {"color": "#0072b2", "marker": "s"},
    "synflow": {"color": "#d55e00", "marker": "^"},
    "phew": {"color": "#009e73", "marker": "v"},
    "erk": {"color": "#e69f00", "marker": "P"},
}
"""Styles of the methods in colour (Okabe and Ito's, which colour-blind people can tell apart)."""

OTHERS: dict[str, Any] = {"color": "0.75", "linewidth": 0.8, "zorder": 1}
"""Style of all other methods."""


def bands(*panels: Results) -> Figure:
    """Draw a panel per target of all results; bands are one standard deviation over seeds."""
    targets = [(results, target) for results in panels for target in results.targets]
    rows = math.ceil((len(targets) + 1) / COLUMNS)  # One place is for the legend.
    figure = Figure(figsize=(4.3 * COLUMNS, 3.6 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for axis, (results, target) in zip(axes.flat, targets, strict=False):
        _panel(axis, results, target)
    for axis in axes[:, 0]:
        axis.set_ylabel("test accuracy (%)")
    *unused, last = axes.flat[len(targets) :]
    for axis in (*unused, last):
        axis.set_axis_off()
    results, target = targets[0]
    last.legend(
        handles=_legend(results, target),
        title="bands: one standard deviation over seeds",
        loc="center",
        frameon=False,
    )
    return figure


def _panel(axis: Any, results: Results, target: str) -> None:
    densities = results.densities(target)
    for name in results.methods(target):
        spreads = [results.accuracy(target, name, density) for density in densities]
        mean = 100 * np.array([spread.mean for spread in spreads])
        style = STYLES.get(name)
        axis.plot(densities, mean, markersize=5, **(style or OTHERS))
        if style:
            std = 100 * np.array([spread.std for spread in spreads])
            axis.fill_between(densities, mean - std, mean + std, color=style["color"], alpha=0.15,
                              linewidth=0)  # fmt: skip
    if DENSE in results.rows[target]:
        dense = 100 * results.accuracy(target, DENSE, 1.0).mean
        axis.axhline(dense, color="0.5", linestyle=":", linewidth=1.2)
    density_axis(axis, densities)
    axis.set_title(target)


def _legend(results: Results, target: str) -> list[Line2D]:
    names = results.methods(target)
    lines = [
        Line2D([], [], label=name, markersize=5, **style)
        for name, style in STYLES.items()
        if name in names
    ]
    others = [name for name in names if name not in STYLES]
    if others:
        lines.append(Line2D([], [], label=f"{len(others)} other scores", **OTHERS))
    if DENSE in results.rows[target]:
        lines.append(Line2D([], [], label="dense network", color="0.5", linestyle=":"))
    return lines
