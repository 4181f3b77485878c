"""What can be named on the command line, with a line about each: the registries' docstrings."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from typer.models import CommandInfo

from autos.cli.analyse import app
from autos.grid.checks import CHECKS
from autos.images.datasets import DATASETS
from autos.images.store import prepared
from autos.methods import METHODS
from autos.methods.base import Method
from autos.network.zoo import architectures


def catalogue() -> dict[str, dict[str, Any]]:
    """Return what can be named on the command line, by kind and name, with a line about each."""
    return {
        "methods": {name: _method(entry) for name, entry in METHODS.items()},
        "checks": {str(name): line for name, line in CHECKS.items()},
        "analyses": dict(map(_command, app.registered_commands)),
        "architectures": {name: _line(build) for name, build in architectures().items()},
        "image sets": {name: _line(read) for name, read in DATASETS.items()},
        "prepared": {name: str(store) for name, store in prepared().items()},
    }


def _command(command: CommandInfo) -> tuple[str, str]:
    """Return the name of a command, and the first line of its help."""
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
    """Return the first line of the docstring of the module that an entry is defined in."""
    while isinstance(entry, partial):
        entry = entry.func
    return (sys.modules[entry.__module__].__doc__ or "\n").splitlines()[0]
