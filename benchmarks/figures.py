"""What a benchmark reports, and how it measures: side by side, in turns, by medians."""

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


@dataclass(frozen=True)
class Figure:
    """One measured value and the target it is held against."""

    name: str
    value: float
    unit: str
    target: str
    met: bool

    def __str__(self) -> str:
        verdict = "met" if self.met else "MISSED"
        return f"{self.name}: {self.value:.4g} {self.unit} (target {self.target}, {verdict})"


def measure(name: str) -> list[Figure]:
    """What the benchmark of this name reports; on all cores."""
    torch.set_num_threads(CORES)
    figures: list[Figure] = import_module(f"benchmarks.{name}").run()
    return figures


def at_least(name: str, value: float, target: float, unit: str) -> Figure:
    return Figure(name, value, unit, f">= {target:g}", value >= target)


def at_most(name: str, value: float, target: float, unit: str) -> Figure:
    return Figure(name, value, unit, f"<= {target:g}", value <= target)


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ratio(slow: Callable[[], Any], fast: Callable[[], Any], repeats: int) -> float:
    """How many times as fast `fast` is: both in turns, the median of the ratios of neighbours."""
    pairs = [(seconds(slow), seconds(fast)) for _ in range(repeats)]
    return statistics.median(s / f for s, f in pairs)


def peak_memory(work: Callable[[], Any]) -> int:
    """Bytes by which this process grew at most while it worked."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise KeyError(field)
