"""Densities after each of several pruning rounds, from just under 1 down to the final one."""

import math
from collections.abc import Callable


def linear(final: float, rounds: int) -> list[float]:
    """The same number of weights goes in every round: d_t = 1 - (1 - d) t / T."""
    return [1 - (1 - final) * t / rounds for t in range(1, rounds)] + [final]


def exponential(final: float, rounds: int) -> list[float]:
    """The same share of the survivors goes in every round: d_t = d^(t / T)."""
    return [final ** (t / rounds) for t in range(1, rounds)] + [final]


def halving(final: float, rounds: int) -> list[float]:
    """Half, then every round halves the distance to the final density: d + (1/2 - d) / 2^(t - 1).

    The last round goes all the way. A final density of a half or more is one round.
    """
    if final >= 1 / 2:
        return [final]
    return [final + (1 / 2 - final) / 2**t for t in range(rounds - 1)] + [final]


def cubic(final: float, rounds: int) -> list[float]:
    """Much at first, then ever less: d_t = d + (1 - d) (1 - t / T)^3 (Zhu and Gupta, eq. 1)."""
    return [final + (1 - final) * (1 - t / rounds) ** 3 for t in range(1, rounds)] + [final]


def geometric(final: float, pruned: float) -> list[float]:
    """The share `pruned` of the survivors goes in every round, and less in the last one.

    These are ceil(ln d / ln(1 - pruned)) rounds, none if nothing is pruned.
    """
    rounds = math.ceil(math.log(final) / math.log(1 - pruned) - 1e-9)  # 0.512 is 0.8^3
    return [(1 - pruned) ** t for t in range(1, rounds)] + [final][:rounds]


SCHEDULES: dict[str, Callable[[float, int], list[float]]] = {
    "linear": linear,
    "exponential": exponential,
}
