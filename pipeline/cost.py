"""What finding a mask costs, counted where a model runs: in samples, whatever the batches."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Cost:
    """What was spent.

    Attributes:
        forward: samples that passed forward through the network.
        backward: samples that passed backward; once more for a derivative of a derivative.
        seconds: by the clock.
    """

    forward: int
    backward: int
    seconds: float

    def epochs(self, samples: int) -> float:
        """Backward passes in units of the training set of that many samples."""
        return self.backward / samples

    def flops(self, forward_flops: int) -> int:
        """Floating-point operations of the dense network; a backward pass counts as two forward.

        Args:
            forward_flops: of one sample.
        """
        return forward_flops * (self.forward + 2 * self.backward)


@dataclass
class _Passes:
    forward: int = 0
    backward: int = 0


_passes: ContextVar[_Passes | None] = ContextVar("passes", default=None)


def count(*, forward: int = 0, backward: int = 0) -> None:
    """Add samples that have passed, if anybody counts."""
    passes = _passes.get()
    if passes is not None:
        passes.forward += forward
        passes.backward += backward


@contextlib.contextmanager
def counting() -> Iterator[Callable[[], Cost]]:
    """Count what passes within; what is yielded tells the cost up to now."""
    passes, start = _Passes(), time.perf_counter()
    token = _passes.set(passes)
    try:
        yield lambda: Cost(**asdict(passes), seconds=time.perf_counter() - start)
    finally:
        _passes.reset(token)
