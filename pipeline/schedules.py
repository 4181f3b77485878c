"""Densities after each of several pruning rounds, from just under 1 down to the final one."""

from collections.abc import Callable


def linear(final: float, rounds: int) -> list[float]:
    """The same number of weights goes in every round: d_t = 1 - (1 - d) t / T."""
    return [1 - (1 - final) * t / rounds for t in range(1, rounds)] + [final]


def exponential(final: float, rounds: int) -> list[float]:
    """The same share of the survivors goes in every round: d_t = d^(t / T)."""
    return [final ** (t / rounds) for t in range(1, rounds)] + [final]


SCHEDULES: dict[str, Callable[[float, int], list[float]]] = {
    "linear": linear,
    "exponential": exponential,
}
