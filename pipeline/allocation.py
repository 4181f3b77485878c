"""How many weights each layer keeps, when that is decided before which ones."""

from collections.abc import Mapping, Sequence

import numpy as np


def erk(shapes: Mapping[str, Sequence[int]], kept: int) -> dict[str, int]:
    """Erdos-Renyi-Kernel allocation (Evci et al., ICML 2020): density ~ sum(shape) / prod(shape).

    A layer that would need a density above 1 is kept whole and the rest is solved again.

    Returns:
        Kept weights per layer, summing to exactly `kept`.
    """
    sizes = np.array([np.prod(shape) for shape in shapes.values()], dtype=np.float64)
    raw = np.array([sum(shape) for shape in shapes.values()]) / sizes
    whole = np.zeros(len(sizes), dtype=bool)
    while True:
        scale = (kept - sizes[whole].sum()) / (raw * sizes)[~whole].sum() if not whole.all() else 0
        over = ~whole & (scale * raw > 1)
        if not over.any():
            break
        whole |= over
    exact = np.where(whole, sizes, scale * raw * sizes)
    counts = np.floor(exact).astype(int)
    # The fractions lost to rounding go, one weight each, to the layers that lost most.
    order = np.argsort(-(exact - counts), kind="stable")
    order = order[(counts < sizes)[order]]
    counts[order[: kept - counts.sum()]] += 1
    return dict(zip(shapes, counts.tolist(), strict=True))
