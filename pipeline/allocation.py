"""How many weights each layer keeps, when that is decided before which ones."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.errors import UserError


def uniform(shapes: Mapping[str, Sequence[int]], kept: int) -> dict[str, int]:
    """The same density in every layer; the counts sum to exactly `kept`."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    return share(kept, sizes, sizes)


def uniform_plus(
    shapes: Mapping[str, Sequence[int]], kept: int, last: float = 0.2
) -> dict[str, int]:
    """Uniform, but the first convolution is whole and the last linear layer not too sparse.

    Args:
        last: the least density of the last linear layer (Gale et al., arXiv 2019).

    Raises:
        UserError: these two layers alone keep more than `kept`.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    convolution = next((name for name, shape in shapes.items() if len(shape) > 2), None)
    fixed = {} if convolution is None else {convolution: sizes[convolution]}
    left, room = kept - sum(fixed.values()), sum(sizes.values()) - sum(fixed.values())
    linear = _last_linear(shapes)
    if linear is not None and left < last * room:
        fixed[linear] = math.ceil(last * sizes[linear])
    return _beside(fixed, kept, sizes, sizes)


def smart_ratio(
    shapes: Mapping[str, Sequence[int]], kept: int, *, steep: bool = False, last: float = 0.3
) -> dict[str, int]:
    """Smart ratio (Su et al., NeurIPS 2020): the density falls quadratically with depth.

    That of layer l of L, the first being 1, is in proportion to (L - l + 1)^2 + (L - l + 1). What
    a layer has no room for goes to the next one.

    Args:
        steep: divide by l^2, as the authors do for VGG.
        last: density of the last linear layer, unless the others are all full.

    Raises:
        UserError: the last linear layer alone keeps more than `kept`.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    linear = _last_linear(shapes)
    fixed = {} if linear is None else {linear: round(last * sizes[linear])}
    wishes = {}
    for level, (name, size) in enumerate(sizes.items(), start=1):
        above = len(sizes) - level + 1
        wishes[name] = size * (above**2 + above) / (level**2 if steep else 1)
    free = [name for name in sizes if name not in fixed]
    scale = (kept - sum(fixed.values())) / max(sum(wishes[name] for name in free), 1)
    over = 0.0
    for name in free:
        over += scale * wishes[name]
        wishes[name] = min(over, sizes[name])
        over -= wishes[name]
    return _beside(fixed, kept, wishes, sizes)


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


def _last_linear(shapes: Mapping[str, Sequence[int]]) -> str | None:
    return next((name for name in reversed([*shapes]) if len(shapes[name]) == 2), None)


def _beside(
    fixed: Mapping[str, int], kept: int, wishes: Mapping[str, float], sizes: Mapping[str, int]
) -> dict[str, int]:
    """Share out what the fixed counts leave over; to their layers only when the others are full."""
    left = kept - sum(fixed.values())
    if left < 0:
        raise UserError(
            f"{' and '.join(fixed)} alone keep {kept - left} weights, but the density allows "
            f"{kept} in all: raise it"
        )
    room = {name: size - fixed.get(name, 0) for name, size in sizes.items()}
    extra = share(left, {**wishes, **dict.fromkeys(fixed, 0.0)}, room)
    return {name: fixed.get(name, 0) + extra[name] for name in sizes}
