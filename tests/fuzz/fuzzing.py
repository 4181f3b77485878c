"""What the fuzzers share: numbers of cases, an end for what hangs, hostile values, and damage."""

import contextlib
import copy
import os
import signal

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from autos.errors import UserError

CASES = int(os.environ.get("FUZZ_CASES", "0"))
"""Number of cases of all fuzzers together; 0 stands for the few of the ordinary suite, which are
the same each time."""

SECONDS = 20
"""Time within which every case ends."""

REFUSED = object()
"""Stands for what a case gives that ends in a `UserError`."""


def cases(quick: int, share: float) -> settings:
    """The settings of one fuzzer.

    Args:
        quick: Number of its cases in the ordinary suite.
        share: Its share of the cases of all fuzzers in a long run.
    """
    return settings(
        max_examples=max(1, round(share * CASES)) if CASES else quick,
        derandomize=not CASES,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


class Hangs(BaseException):
    """A case that does not end; nothing that catches errors may catch it."""


@contextlib.contextmanager
def ending():
    """Fail if the block takes longer than any case may."""

    def stop(*_):
        raise Hangs(f"no end within {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    except Hangs as error:
        raise AssertionError(str(error)) from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(function, *args, **kwargs):
    """Call a function, which may refuse in one line and may do nothing else wrong."""
    with ending():
        try:
            return function(*args, **kwargs)
        except UserError as error:
            assert str(error) and "\n" not in str(error)
            return REFUSED


# --- values that nobody expects ---

NUMBERS = [0, 1, -1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**400]
FLOATS = [0.0, -0.0, 0.5, 1e-300, 1e300, float("inf"), -float("inf"), float("nan")]
TEXTS = ["", "all", "nan", "1e3", "a/b", "../x", "a" * 300, "ü", "\0", "~", "0x10", "\ud800"]
SCALARS = st.one_of(
    st.sampled_from([None, True, False, *NUMBERS, *FLOATS, *TEXTS]),
    st.integers(-3, 40),
    st.floats(),
    st.text(max_size=8),
)
KEYS = st.text(max_size=5)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=4,
)


def parts(value, path=()):
    """The paths of all parts of a nested value, its own included."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from parts(value[key], (*path, key))


@st.composite
def altered(draw, value, values=VALUES):
    """A nested value in which one part is another one, is missing, or is one too many."""
    whole = {"": copy.deepcopy(value)}
    *path, last = ("", *draw(st.sampled_from(list(parts(value)))))
    place = whole
    for key in path:
        place = place[key]
    what = draw(st.sampled_from(["replace", "replace", "remove", "add", "nest"]))
    if what == "remove" and path:
        del place[last]
    elif what == "add" and isinstance(place[last], dict):
        place[last][draw(KEYS)] = draw(values)
    elif what == "add" and isinstance(place[last], list):
        place[last].append(draw(values))
    elif what == "nest":
        place[last] = draw(st.sampled_from([lambda x: [x], lambda x: {"a": x}]))(place[last])
    else:
        place[last] = draw(values)
    return whole[""]


@st.composite
def damage(draw, size):
    """A place in so many bytes, how many of them are lost there, and what stands there instead."""
    start = draw(st.integers(0, max(size - 1, 0)))
    lost = draw(st.sampled_from([0, 1, 1, 1, 8, 64, size]))
    return start, lost, draw(st.sampled_from(PIECES) | st.binary(max_size=9))


PIECES = [b"", b"\0", b"\xff", b"0", b"null", b"NaN", b"-", b"9" * 4000, b"[" * 40, b"[" * 100_000]


def damaged(content, place):
    """Do the damage to bytes."""
    start, lost, new = place
    return content[:start] + new + content[start + lost :]
