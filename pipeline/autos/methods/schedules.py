"""Densities after each of several pruning rounds, from just under 1 down to the final one.

In the formulas d is the final density, T the number of rounds, and t the number of a round, from 1.
"""

import math
from collections.abc import Callable


def linear(final: float, rounds: int) -> list[float]:
    """Return densities that fall by the same amount in every round: d_t = 1 - (1 - d) t / T."""
    return [1 - (1 - final) * t / rounds for t in range(1, rounds)] + [final]


def exponential(final: float, rounds: int) -> list[float]:
    """Return densities that fall by the same factor in every round: d_t = d^(t / T)."""
    return [final ** (t / rounds) for t in range(1, rounds)] + [final]


def halving(final: float, rounds: int) -> list[float]:
    """Return densities that halve the distance to the final one: d_t = d + (1/2 - d) / 2^(t - 1).

    The first round leaves half of the weights, and the last one goes all the way to d. A final
    density of a half or more takes a single round.
    """
    if final >= 1 / 2:
        return [final]
    return [final + (1 / 2 - final) / 2**t for t in range(rounds - 1)] + [final]


def cubic(final: float, rounds: int) -> list[float]:
    """Return densities that fall fast at first, then ever more slowly.

    They are d_t = d + (1 - d) (1 - t / T)^3 (Zhu and Gupta, ICLR workshop 2018, eq. 1).
    """
    return [final + (1 - final) * (1 - t / rounds) ** 3 for t in range(1, rounds)] + [final]


def geometric(final: float, pruned: float) -> list[float]:
    """Return densities that fall by the share `pruned` of the survivors in every round.

    The last round prunes less, if that is enough to reach the final density. There are
    ceil(ln d / ln(1 - pruned)) rounds, and none for a final density of 1.
    """
    # Rounding must not add a round: 0.512 is 0.8^3.
    rounds = math.ceil(math.log(final) / math.log(1 - pruned) - 1e-9)
    return [(1 - pruned) ** t for t in range(1, rounds)] + [final][:rounds]


SCHEDULES: dict[str, Callable[[float, int], list[float]]] = {
    "linear": linear,
    "exponential": exponential,
}
"""Schedules that settings can name."""
