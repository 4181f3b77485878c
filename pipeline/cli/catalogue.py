"""What can be named on the command line, with a line about each: the registries' docstrings."""

import sys
from collections.abc import Callable
from typing import Any

from models import ARCHITECTURES
from pipeline.cli.data_sources import PREPARED
from pipeline.criteria import CRITERIA
from pipeline.datasets import DATASETS
from pipeline.fingerprint import module_of


def catalogue() -> dict[str, dict[str, str]]:
    return {
        "criteria": {name: _line(entry.score) for name, entry in CRITERIA.items()},
        "architectures": {name: _line(build) for name, build in ARCHITECTURES.items()},
        "image sets": {name: _line(read) for name, read in DATASETS.items()},
        "prepared": {store.stem: str(store) for store in sorted(PREPARED.glob("*.zarr"))},
    }


def _line(entry: Callable[..., Any]) -> str:
    """First line of the docstring of the module that an entry is defined in."""
    return (sys.modules[module_of(entry)].__doc__ or "").splitlines()[0]
