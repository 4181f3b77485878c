"""The pictures of a report, as matplotlib figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autos.errors import extra
from autos.grid.cell import DENSE, MaskRow
from autos.report.results import AUTOS, Results

with extra("pipeline"):
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, NullFormatter

COLORS = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]


def accuracy(results: Results) -> Figure:
    """Draw test accuracy against density, a panel per target; bars are one standard deviation."""
    figure, axes = _panels(1, len(results.targets), width=4.6, height=3.8)
    for axis, target in zip(axes[0], results.targets, strict=True):
        densities = results.densities(target)
        methods = results.methods(target)
        for i, method in enumerate(methods):
            spreads = [results.accuracy(target, method, density) for density in densities]
            # Bars stand side by side, so that those of different methods do not hide each other.
            shift = 1.02 ** (i - (len(methods) - 1) / 2)
            axis.errorbar(
                [density * shift for density in densities],
                [100 * spread.mean for spread in spreads],
                yerr=[100 * spread.std for spread in spreads],
                label=method,
                **_style(method, i),
            )
        if DENSE in results.rows[target]:
            dense = 100 * results.accuracy(target, DENSE, 1.0).mean
            axis.axhline(dense, color="0.5", linestyle=":", linewidth=1.2, label=DENSE)
        density_axis(axis, densities)
        axis.set_title(target)
    axes[0][0].set_ylabel("test accuracy (%)")
    axes[0][-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def layer_densities(masks: Sequence[MaskRow]) -> Figure:
    """Draw the density of every layer, averaged over seeds.

    There is a row of panels per target, and a column per density.
    """
    masks = [mask for mask in masks if not mask.check]
    targets = list(dict.fromkeys(mask.target for mask in masks))
    densities = sorted({mask.density for mask in masks}, reverse=True)
    methods = list(dict.fromkeys(mask.method for mask in masks))
    figure, axes = _panels(len(targets), len(densities), width=3.2, height=2.8)
    for row, target in zip(axes, targets, strict=True):
        for axis, density in zip(row, densities, strict=True):
            for i, method in enumerate(methods):
                seeds = [
                    list(mask.layer_densities.values())
                    for mask in masks
                    if (mask.target, mask.density, mask.method) == (target, density, method)
                ]
                if seeds:
                    mean = 100 * np.mean(seeds, axis=0)
                    style = {**_style(method, i), "markersize": 3, "capsize": 0}
                    axis.errorbar(range(1, len(mean) + 1), mean, label=method, **style)
            axis.set_title(f"{target}, {100 * density:g} %", fontsize=9)
            axis.set_yscale("symlog", linthresh=0.1)
            axis.set_ylim(0, 150)
            axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
        row[0].set_ylabel("layer density (%)")
    for axis in axes[-1]:
        axis.set_xlabel("layer, from the input")
    axes[0][-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def paper_map(report: Mapping[str, Any], inputs: Sequence[str]) -> Figure:
    """Draw the survival that the paper's predictor foresees, over its inputs.

    Args:
        report: What was measured of the predictor, with its "map".
        inputs: Names of the predictor's inputs.
    """
    axis_values, scores = np.array(report["map"]["axis"]), np.array(report["map"]["scores"])
    figure, axes = _panels(1, 1, width=4.8, height=4.0)
    axis = axes[0][0]
    axis.set_xlabel(f"{inputs[0] if len(inputs) == 1 else 'weight'} / root mean square")
    if len(inputs) == 1:
        axis.plot(axis_values, scores[0], color=COLORS[0])
        axis.set_ylabel("predicted survival")
        return figure
    image = axis.pcolormesh(axis_values, axis_values, scores, shading="nearest", rasterized=True)
    axis.set_ylabel("gradient / root mean square")
    axis.set_title("what the paper's predictor learned")
    figure.colorbar(image, label="predicted survival (fraction of rounds)")
    return figure


def survival(report: Mapping[str, Any]) -> Figure:
    """Draw predicted against true survival, and the overlap with IRP's masks, for every source.

    Args:
        report: What was measured of the paper's predictor, with its "networks".
    """
    networks = report["networks"]
    figure, axes = _panels(len(networks), 2, width=4.8, height=3.8)
    for row, (name, network) in zip(axes, networks.items(), strict=True):
        counts = np.array(network["joint_histogram"], dtype=float)
        shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
        rounds, bins = len(counts) - 1, counts.shape[1]
        edges = np.arange(rounds + 2) - 0.5
        image = row[0].pcolormesh(edges, np.linspace(0, 1, bins + 1), shares.T, cmap="magma_r")
        figure.colorbar(image, label="share of the weights with this survival")
        centres = (np.arange(bins) + 0.5) / bins
        row[0].plot(np.arange(rounds + 1), shares @ centres, "o-", color=COLORS[0], markersize=3,
                    label="mean prediction")  # fmt: skip
        row[0].plot([0, rounds], [0, 1], ":", color="0.4", label="perfect")
        row[0].set(xlabel="rounds survived", ylabel="predicted survival", title=f"{name}, held out")
        row[0].legend(fontsize=8, frameon=False, loc="upper left")
        densities = network["densities"]
        for i, (score, overlap) in enumerate(network["overlap"].items()):
            style = {**_style(score, i), "capsize": 0}
            row[1].errorbar(densities, 100 * np.array(overlap), label=score, **style)
        row[1].plot(densities, 100 * np.array(densities), ":", color="0.4", label="chance")
        row[1].set_xscale("log")
        density_axis(row[1], [1, 0.3, 0.1, 0.03, 0.01])
        row[1].set(ylabel="overlap with IRP's mask (%)", title=f"{name}, held out")
        row[1].legend(fontsize=8, frameon=False)
    return figure


def _panels(rows: int, columns: int, *, width: float, height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _style(method: str, index: int) -> dict[str, Any]:
    ours = method == AUTOS
    return {
        "color": "black" if ours else COLORS[index % len(COLORS)],
        "linewidth": 2.2 if ours else 1.2,
        "zorder": 3 if ours else 2,
        "marker": "o",
        "markersize": 4,
        "capsize": 2,
    }


def density_axis(axis: Any, ticks: Sequence[float]) -> None:
    """Make the axis of x that of densities, logarithmic, in per cent, with the given ticks."""
    axis.set_xscale("log")
    axis.set_xticks(ticks)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("density (% of weights kept)")
