"""How many weights each layer keeps, when that is decided before which ones."""

import math
from collections.abc import Mapping, Sequence

import numpy as np


def uniform(shapes: Mapping[str, Sequence[int]], kept: int) -> dict[str, int]:
    """The same density in every layer; the counts sum to exactly `kept`."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    return share(kept, sizes, sizes)


def er(shapes: Mapping[str, Sequence[int]], kept: int) -> dict[str, int]:
    """Erdos-Renyi allocation (Mocanu et al., Nature Communications 2018).

    Density ~ (outputs + inputs) / (outputs * inputs), whatever the size of a convolution's kernel.
    Otherwise as `erk`.
    """
    sums = {name: sum(shape[:2]) * math.prod(shape[2:]) for name, shape in shapes.items()}
    return share(kept, sums, {name: math.prod(shape) for name, shape in shapes.items()})


def erk(shapes: Mapping[str, Sequence[int]], kept: int) -> dict[str, int]:
    """Erdos-Renyi-Kernel allocation (Evci et al., ICML 2020): density ~ sum(shape) / prod(shape).

    A layer that would need a density above 1 is kept whole and the rest is solved again.

    Returns:
        Kept weights per layer, summing to exactly `kept`.
    """
    sums = {name: sum(shape) for name, shape in shapes.items()}
    return share(kept, sums, {name: math.prod(shape) for name, shape in shapes.items()})


def share(total: int, wishes: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Share out `total` in proportion to the wishes, as far as there is room.

    What a full layer leaves over is shared among the others in the same way; layers that wish for
    nothing get something only when all others are full, and then in proportion to their room.

    Returns:
        Counts per layer, summing to exactly `total`, which is at most all the room.
    """
    wish, size = np.array([*wishes.values()], float), np.array([*room.values()], float)
    full = np.zeros(len(size), dtype=bool)
    while True:
        left = total - size[full].sum()
        if left > 0 and not wish[~full].any():
            wish = np.where(full, wish, size)
        scale = left / wish[~full].sum() if left > 0 else 0
        over = ~full & (scale * wish > size)
        if not over.any():
            break
        full |= over
    exact = np.where(full, size, scale * wish)
    counts = np.floor(exact).astype(int)
    # The fractions lost to rounding go, one weight each, to the layers that lost most.
    order = np.argsort(-(exact - counts), kind="stable")
    order = order[(counts < size)[order]]
    counts[order[: total - counts.sum()]] += 1
    return dict(zip(room, counts.tolist(), strict=True))
