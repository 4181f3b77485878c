"""The program that runs all benchmarks, or those that are named, each in a fresh process.

What benchmarks that are not run have measured before stays in the results.
"""

import json
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.figures import CORES, measure

NAMES = ["scoring", "scale", "criteria", "fitting", "lookup", "training", "attached", "imports"]
RESULTS = Path(__file__).with_name("results.json")


def main(names: Sequence[str]) -> None:
    """Run the named benchmarks, or all without a name, and write their results."""
    unknown = set(names) - set(NAMES)
    if unknown:
        sys.exit(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    figures = {figure["name"]: figure for figure in known}
    print(f"{CORES} cores, torch {torch.__version__}")
    for name in names or NAMES:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            for figure in pool.submit(measure, name).result():
                print(figure, flush=True)
                figures[figure.name] = asdict(figure)
        RESULTS.write_text(json.dumps(list(figures.values()), indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
