"""What finding a mask costs, counted where a model runs, in samples and not in batches."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Cost:
    """The cost of finding a mask.

    Attributes:
        forward: Number of samples that passed forward through the network.
        backward: Number of samples that passed backward; a derivative of a derivative counts once
            more.
        seconds: Time that passed on the clock.
    """

    forward: int
    backward: int
    seconds: float

    def epochs(self, samples: int) -> float:
        """Return the backward passes in units of a training set of `samples` samples."""
        return self.backward / samples

    def flops(self, forward_flops: int) -> int:
        """Return the floating-point operations of all passes through the dense network.

        A backward pass counts as two forward passes.

        Args:
            forward_flops: Number of operations of a forward pass of one sample.
        """
        return forward_flops * (self.forward + 2 * self.backward)


@dataclass
class _Passes:
    forward: int = 0
    backward: int = 0


_passes: ContextVar[_Passes | None] = ContextVar("passes", default=None)


def count(*, forward: int = 0, backward: int = 0) -> None:
    """Add samples that have passed forward or backward to the cost, if `counting` is active."""
    passes = _passes.get()
    if passes is not None:
        passes.forward += forward
        passes.backward += backward


@contextlib.contextmanager
def counting() -> Iterator[Callable[[], Cost]]:
    """Count the samples that pass through networks inside the block.

    Yields:
        A function that returns the cost since the block began.
    """
    passes, start = _Passes(), time.perf_counter()
    token = _passes.set(passes)
    try:
        yield lambda: Cost(**asdict(passes), seconds=time.perf_counter() - start)
    finally:
        _passes.reset(token)
