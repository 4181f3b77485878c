"""What a benchmark reports, and how it measures: in turns, by medians."""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

CORES = len(os.sched_getaffinity(0))
"""Number of cores that this process may use."""


@dataclass(frozen=True)
class Figure:
    """A measured value and the target that it is held against.

    Attributes:
        name: Name of the benchmark, and of what it measured.
        value: Measured value.
        unit: Unit of the value.
        target: Target in words, such as ">= 2".
        met: Whether the value reaches the target.
    """

    name: str
    value: float
    unit: str
    target: str
    met: bool

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"{self.name}: {self.value:.4g} {self.unit} (target {self.target}, {verdict})"


def measure(name: str) -> list[Figure]:
    """Run the benchmark of this name on all cores, and return what it reports."""
    torch.set_num_threads(CORES)
    figures: list[Figure] = import_module(f"benchmarks.{name}").run()
    return figures


def at_least(name: str, value: float, target: float, unit: str) -> Figure:
    """Return the figure of a value that should be at least the target."""
    return Figure(name, value, unit, f">= {target:g}", value >= target)


def at_most(name: str, value: float, target: float, unit: str) -> Figure:
    """Return the figure of a value that should be at most the target."""
    return Figure(name, value, unit, f"<= {target:g}", value <= target)


def seconds(work: Callable[[], Any]) -> float:
    """Measure the time in seconds that some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(slow: Callable[[], Any], fast: Callable[[], Any], repeats: int) -> float:
    """Measure how many times as fast `fast` is, by the median ratio of runs that take turns."""
    pairs = [(seconds(slow), seconds(fast)) for _ in range(repeats)]
    return statistics.median(s / f for s, f in pairs)


def peak_memory(work: Callable[[], Any]) -> int:
    """Measure the bytes by which this process grows at most during some work."""
    Path("/proc/self/clear_refs").write_text("5")  # This resets the peak.
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(field)
