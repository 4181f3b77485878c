"""What can be named on the command line, with a line about each: the registries' docstrings."""

import sys
from collections.abc import Callable
from typing import Any

from typer.models import CommandInfo

from models import ARCHITECTURES
from pipeline.cli.analyse import app
from pipeline.cli.data_sources import PREPARED
from pipeline.datasets import DATASETS
from pipeline.fingerprint import module_of
from pipeline.method import Method
from pipeline.methods import METHODS

CHECKS = {
    "shuffle": "The kept weights move to random places of their layers.",
    "reinitialise": "The weights of each layer are permuted under the mask.",
    "random_ticket": "Both: nothing but the layer densities is left of the method.",
    "invert": "The lowest scores are kept; of methods that have scores.",
}


def catalogue() -> dict[str, dict[str, Any]]:
    return {
        "criteria": {name: _method(entry) for name, entry in METHODS.items()},
        "checks": CHECKS,
        "analyses": dict(map(_command, app.registered_commands)),
        "architectures": {name: _line(build) for name, build in ARCHITECTURES.items()},
        "image sets": {name: _line(read) for name, read in DATASETS.items()},
        "prepared": {store.stem: str(store) for store in sorted(PREPARED.glob("*.zarr"))},
    }


def _command(command: CommandInfo) -> tuple[str, str]:
    """Name and first line of a command."""
    assert command.callback is not None
    name = command.callback.__name__.replace("_", "-")
    return name, (command.callback.__doc__ or "").splitlines()[0]


def _method(method: Method) -> dict[str, Any]:
    return {
        "kind": method.kind,
        "paper": method.paper,
        "year": method.year,
        "data": method.data,
        "cost": method.cost,
        "settings": method.settings().model_dump(mode="json"),
        "about": _line(method.function),
    }


def _line(entry: Callable[..., Any]) -> str:
    """First line of the docstring of the module that an entry is defined in."""
    return (sys.modules[module_of(entry)].__doc__ or "").splitlines()[0]
