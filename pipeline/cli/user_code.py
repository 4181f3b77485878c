"""Code that the user names as `package.module:name`, and its errors as one line."""

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any

from pipeline.errors import UserError


def load(name: str) -> Any:
    """The object behind "package.module:name"; modules of the current directory are found too.

    Raises:
        UserError: there is no such module or name, or importing it fails.
    """
    module_name, _, attributes = name.partition(":")
    if not attributes:
        raise UserError(f"{name!r} is not of the form package.module:name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does; a console script does not
    with explained(name):
        module = importlib.import_module(module_name)
    try:
        return functools.reduce(getattr, attributes.split("."), module)
    except AttributeError:
        place = getattr(module, "__file__", None) or module_name
        raise UserError(f"{name}: there is no {attributes!r} in {place}") from None


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Report whatever the code of others raises inside as one line.

    Raises:
        UserError: `what` and the exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = " ".join(str(error).split())[:300]
        raise UserError(f"{what}: {type(error).__name__}: {problem}") from error
