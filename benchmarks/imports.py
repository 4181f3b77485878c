"""How long `import autos` takes, with every name of its front door, against `import torch`.

Both run in fresh processes that take turns, and the median of the ratios counts.
"""

import subprocess
import sys

from benchmarks.figures import Figure, at_most, ratio

REPEATS = 11


def run() -> list[Figure]:
    """Measure how many times as long as `import torch` the import of the whole library takes."""

    def process(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], check=True)

    times = ratio(lambda: process("from autos import *"), lambda: process("import torch"), REPEATS)
    return [at_most("imports: autos over torch", times, 1.3, "times")]
