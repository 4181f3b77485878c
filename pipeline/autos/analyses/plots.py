"""The plots of the analyses, as matplotlib figures."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from autos.analyses.concordance import Pair
from autos.analyses.layer_densities import ERK, UNIFORM
from autos.analyses.mode_connectivity import Path, barrier
from autos.analyses.overlap import Overlap
from autos.errors import extra

with extra("pipeline"):
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

NAMED = 24
"""Number of layers that have room for their names; more are numbered."""

SIGNED = "RdBu_r"
"""Name of the colour map for values from -1 to 1."""


def mode_connectivity(path: Path) -> Figure:
    """Draw loss and error between two networks, with the line that no barrier would follow."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots(1, 2)
    percent = [100 * error for error in path.error]
    for axis, values, name, label, unit in (
        (axes[0], path.loss, "loss", "test loss", ""),
        (axes[1], percent, "error", "test error (%)", " points"),
    ):
        axis.plot(path.shares, values, "o-", markersize=3, color="C0", label="interpolated")
        axis.plot([0, 1], [values[0], values[-1]], ":", color="0.4", label="straight line")
        height = barrier(values, path.shares)
        axis.set_title(
            f"{name} barrier: {height.from_line:.3g}{unit} from the line,\n"
            f"{height.above_mean:.3g}{unit} above the mean of the ends",
            fontsize=10,
        )
        axis.set(xlabel="share of the first network's weights", ylabel=label)
        axis.margins(y=0.15)
    _legend_right(axes[-1])
    return figure


def gradient_gram(cosines: np.ndarray, steps: Sequence[int]) -> Figure:
    """Draw the cosines between gradients; colours reach to the largest off the diagonal.

    Args:
        cosines: Cosines [n, n] between all pairs of n gradients.
        steps: Steps of the training at which the gradients were taken.
    """
    figure = Figure(figsize=(5.6, 4.6), layout="constrained")
    axis = figure.subplots()
    others = cosines - np.eye(len(steps))
    limit = max(float(np.abs(others).max()), 0.01)
    image = axis.imshow(cosines, cmap=SIGNED, vmin=-limit, vmax=limit, origin="lower")
    shown = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), 6)).round().astype(int))
    axis.set_xticks(shown, [f"{steps[i]:,}" for i in shown])
    axis.set_yticks(shown, [f"{steps[i]:,}" for i in shown])
    axis.set(
        xlabel="optimizer step", ylabel="optimizer step", title="gradients during one training"
    )
    figure.colorbar(image, label="cosine of two gradients (1 on the diagonal)", extend="max")
    return figure


def overlap(layers: Mapping[str, Overlap], *, title: str) -> Figure:
    """Draw agreement and Jaccard's index by layer, beside what chance gives."""
    figure = Figure(figsize=_width(len(layers), panels=2), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, value, chance, label in (
        (axes[0], "agreement", "chance", "positions both keep or both prune (%)"),
        (axes[1], "jaccard", "jaccard_chance", "Jaccard index of the kept weights (%)"),
    ):
        places = range(len(layers))
        values = [100 * getattr(layer, value) for layer in layers.values()]
        by_chance = [100 * getattr(layer, chance) for layer in layers.values()]
        axis.bar(places, values, color="C0", label="these masks", width=0.7)
        axis.plot(places, by_chance, "_", color="black", markersize=14, markeredgewidth=2,
                  label="random masks of the\nsame layer densities")  # fmt: skip
        axis.set(ylabel=label, ylim=(0, 105))
        _layer_axis(axis, list(layers))
    figure.suptitle(title, fontsize=10)
    _legend_right(axes[-1])
    return figure


def concordance(pairs: Sequence[Pair]) -> Figure:
    """Draw the concordance of every pair of networks, as a matrix."""
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    values = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(values, 1)
    for pair in pairs:
        i, j = names.index(pair.first), names.index(pair.second)
        values[i, j] = values[j, i] = pair.concordance
    side = 2.2 + 0.8 * len(names)
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axis = figure.subplots()
    image = axis.imshow(values, cmap=SIGNED, vmin=-1, vmax=1)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axis.set_yticks(range(len(names)), names)
    for (i, j), value in np.ndenumerate(values):
        text = "" if math.isnan(value) else f"{value:.2f}"
        axis.text(j, i, text, ha="center", va="center", color="white" if value > 0.6 else "black")
    figure.colorbar(image, label="concordance of surviving scores", shrink=0.8)
    return figure


def layer_densities(densities: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the density of every layer, with a line per mask and allocation."""
    layers = list(next(iter(densities.values())))
    figure = Figure(figsize=_width(len(layers), panels=1), layout="constrained")
    axis = figure.subplots()
    plain = {ERK: ("0.35", "--"), UNIFORM: ("0.35", ":")}
    for i, (name, values) in enumerate(densities.items()):
        color, line = plain.get(name, (f"C{i}", "-"))
        percent = [100 * value for value in values.values()]
        marker = "" if name in plain else "o"
        axis.plot(
            percent, line, color=color, marker=marker, markersize=4, label=name, clip_on=False
        )
    _density_axis(axis, [value for layer in densities.values() for value in layer.values()])
    _layer_axis(axis, layers)
    _legend_right(axis)
    return figure


def effective_paths(layers: Sequence[Mapping[str, Any]], *, title: str) -> Figure:
    """Draw density of the kept and of the effective weights, and effective units, by layer.

    Args:
        layers: Facts of each layer: "layer", "density", "effective_density", "units" and
            "effective_units".
    """
    names = [layer["layer"] for layer in layers]
    figure = Figure(figsize=_width(len(names), panels=2), layout="constrained")
    axes = figure.subplots(1, 2)
    kept, on_path = ([layer[key] for layer in layers] for key in ("density", "effective_density"))
    axes[0].plot(
        [100 * d for d in kept], "o-", color="0.5", markersize=5, label="kept", clip_on=False
    )
    axes[0].plot(
        [100 * d for d in on_path], "o-", color="C0", markersize=3, label="on a path", clip_on=False
    )
    _density_axis(axes[0], kept + on_path)
    axes[0].legend(fontsize=8, frameon=False)
    shares = [100 * layer["effective_units"] / layer["units"] for layer in layers]
    axes[1].bar(range(len(names)), shares, color="C0", width=0.7)
    axes[1].set(ylabel="units on a path (%)", ylim=(0, 105))
    for axis in axes:
        _layer_axis(axis, names)
    figure.suptitle(title, fontsize=10)
    return figure


def _width(layers: int, *, panels: int) -> tuple[float, float]:
    return panels * (3.2 + 0.18 * min(layers, NAMED)) + 1.4, 4.2


def _layer_axis(axis: Any, names: Sequence[str]) -> None:
    axis.set_xlim(-0.6, len(names) - 0.4)
    if len(names) <= NAMED:
        short = [name.removesuffix(".weight") for name in names]
        axis.set_xticks(range(len(names)), short, rotation=60, ha="right", rotation_mode="anchor")
        axis.set_xlabel("layer")
    else:
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x + 1:g}"))
        axis.set_xlabel("layer, from the input")


def _density_axis(axis: Any, densities: Sequence[float]) -> None:
    """Make the axis of y that of densities in per cent.

    It is logarithmic down to the smallest density that is not 0, and has a place for 0.
    """
    least = min((100 * density for density in densities if density), default=1)
    axis.set_yscale("symlog", linthresh=10 ** math.floor(math.log10(least)))
    axis.set_ylim(0, 150)
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    axis.set_ylabel("share of the layer's weights (%)")


def _legend_right(axis: Any) -> None:
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
