"""Code that the user names as "package.module:name"."""

import functools
import importlib
import os
import sys
from typing import Any

from autos.errors import UserError, explained


def load(name: str) -> Any:
    """Return the object behind "package.module:name".

    Modules of the current folder are found as `python -m` would find them.

    Raises:
        UserError: There is no such module or name, or importing the module fails.
    """
    module_name, _, attributes = name.partition(":")
    if not attributes:
        raise UserError(f"{name!r} is not of the form package.module:name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    with explained(name):
        module = importlib.import_module(module_name)
    try:
        return functools.reduce(getattr, attributes.split("."), module)
    except AttributeError:
        place = getattr(module, "__file__", None) or module_name
        raise UserError(f"{name}: there is no {attributes!r} in {place}") from None
