"""The one exception for mistakes a user can mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One line for the user: what is wrong, where, and what would be right."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Text of the error for a name that no registry has, with the nearest valid ones first."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return f"unknown {kind} {name!r}; {hint}known: {', '.join(known)}"
