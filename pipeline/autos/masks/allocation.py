"""How many weights each layer keeps, when that is decided before which ones."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from autos.errors import UserError


def uniform(shapes: Mapping[str, Sequence[int]], kept: int) -> dict[str, int]:
    """Give every layer the same density.

    Args:
        shapes: Shapes of the weights by name.
        kept: Number of weights to keep in all.

    Returns:
        Number of kept weights by name, summing to exactly `kept`.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    return share(kept, sizes, sizes)


def uniform_plus(
    shapes: Mapping[str, Sequence[int]], kept: int, last: float = 0.2
) -> dict[str, int]:
    """Give every layer the same density, but keep the first convolution whole.

    The density of the last linear layer does not fall below `last`.

    Args:
        shapes: Shapes of the weights by name.
        kept: Number of weights to keep in all.
        last: Least density of the last linear layer (Gale et al., arXiv 2019).

    Returns:
        Number of kept weights by name, summing to exactly `kept`.

    Raises:
        UserError: These two layers alone keep more than `kept`.
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
    """Let the density fall quadratically with depth, by smart ratio (Su et al., NeurIPS 2020).

    The density of layer l of L, the first being 1, is in proportion to (L - l + 1)^2 + (L - l + 1).
    What a layer has no room for goes to the next one.

    Args:
        shapes: Shapes of the weights by name, in the order of the layers.
        kept: Number of weights to keep in all.
        steep: Whether densities are divided by l^2, as the authors do for VGG.
        last: Density of the last linear layer, unless the others are all full.

    Returns:
        Number of kept weights by name, summing to exactly `kept`.

    Raises:
        UserError: The last linear layer alone keeps more than `kept`.
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
    """Allocate weights by Erdos-Renyi (Mocanu et al., Nature Communications 2018).

    The density of a layer is in proportion to (outputs + inputs) / (outputs * inputs), whatever the
    size of a convolution's kernel. A layer that would need a density above 1 is kept whole and the
    rest is solved again.

    Args:
        shapes: Shapes of the weights by name.
        kept: Number of weights to keep in all.

    Returns:
        Number of kept weights by name, summing to exactly `kept`.
    """
    sums = {name: sum(shape[:2]) * math.prod(shape[2:]) for name, shape in shapes.items()}
    return share(kept, sums, {name: math.prod(shape) for name, shape in shapes.items()})


def erk(shapes: Mapping[str, Sequence[int]], kept: int) -> dict[str, int]:
    """Allocate weights by Erdos-Renyi-Kernel (Evci et al., ICML 2020).

    The density of a layer is in proportion to sum(shape) / prod(shape). A layer that would need a
    density above 1 is kept whole and the rest is solved again.

    Args:
        shapes: Shapes of the weights by name.
        kept: Number of weights to keep in all.

    Returns:
        Number of kept weights by name, summing to exactly `kept`.
    """
    sums = {name: sum(shape) for name, shape in shapes.items()}
    return share(kept, sums, {name: math.prod(shape) for name, shape in shapes.items()})


def igq(shapes: Mapping[str, Sequence[int]], kept: int) -> dict[str, int]:
    """Allocate weights by ideal gas quotas (Vysogorets and Kempe, JMLR 2023).

    A layer of n weights gets the density 1 / (1 + F n); F is found by bisection.

    Args:
        shapes: Shapes of the weights by name.
        kept: Number of weights to keep in all.

    Returns:
        Number of kept weights by name, summing to exactly `kept`.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}

    def quotas(log_force: float) -> dict[str, float]:
        return {name: n / (1 + math.exp(log_force) * n) for name, n in sizes.items()}

    low, high = -100.0, 100.0  # These are nothing pruned and nothing kept.
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(quotas(middle).values()) > kept else (low, middle)
    return share(kept, quotas(high), sizes)


def share(total: int, wishes: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Share out `total` in proportion to the wishes, as far as there is room.

    What a full layer leaves over is shared among the others in the same way; layers that wish for
    nothing get something only when all others are full, and then in proportion to their room.

    Args:
        total: Number to share out, at most the sum of all the room.
        wishes: What each layer wishes for, in any unit, not negative.
        room: The most that each layer can get.

    Returns:
        Number by layer, summing to exactly `total`.
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
    """Share out what fixed counts leave over, to their own layers only if all others are full."""
    left = kept - sum(fixed.values())
    if left < 0:
        raise UserError(
            f"{' and '.join(fixed)} alone keep {kept - left} weights, but the density allows "
            f"{kept} in all: raise it"
        )
    room = {name: size - fixed.get(name, 0) for name, size in sizes.items()}
    extra = share(left, {**wishes, **dict.fromkeys(fixed, 0.0)}, room)
    return {name: fixed.get(name, 0) + extra[name] for name in sizes}
