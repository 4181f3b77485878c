"""The exceptions for mistakes that a user can mend, and how any error becomes one line.

So does a signal that ends a program.
"""

import contextlib
import difflib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator

USER_ERROR = 2
"""Exit code of a command that ends because of a user's mistake."""

DISK_ERRORS = (
    errno.ENOSPC,
    errno.ENAMETOOLONG,
    errno.ELOOP,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EIO,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
"""Error numbers of an `OSError` that say something of the user's disk, not of this program."""


class UserError(Exception):
    """A mistake that the user can mend; its message is one line.

    The line says what is wrong, where it is, and what would be right. It knows nothing of who
    called the library: a command or a stage may add where the user wrote the wrong value.
    """


class SettingError(UserError):
    """A setting has a value that cannot be used; the message begins with the setting's name."""


class MissingFileError(UserError):
    """A file that this library makes is not there; making it is the cure."""


class DamagedFileError(UserError):
    """A file that this library made is damaged or too old; making it anew is the cure."""


class LostWorkerError(UserError):
    """The operating system ended a worker process; fewer workers at a time are the cure."""


class Stopped(BaseException):
    """Ctrl-C or SIGTERM asks this program to end.

    It is no KeyboardInterrupt, since Lightning ends a process that one reaches.
    """


STOPS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
"""Signals that end a program, in words."""


@contextlib.contextmanager
def stoppable(kept: str) -> Iterator[None]:
    """End the process in one line and with exit code 130 or 143 at Ctrl-C or SIGTERM.

    It is for programs, around all that they do; within the block the signal is raised as `Stopped`,
    so that whatever is open is closed. Neither threads nor worker processes are waited for.

    Args:
        kept: What becomes of the work, for the line.
    """
    received: list[int] = []

    def stop(number: int, _: object) -> None:
        received.append(number)
        raise Stopped

    def raised_in_vain(told: "sys.UnraisableHookArgs") -> None:
        # In a finalizer, Python can but print an exception: the signal is sent again, a bit later.
        if issubclass(told.exc_type, Stopped):
            main = threading.main_thread().ident
            threading.Timer(0.01, signal.pthread_kill, (main, received[-1])).start()
        else:
            sys.__unraisablehook__(told)

    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and shells' jobs have it
            signal.signal(number, stop)
    sys.unraisablehook = raised_in_vain
    try:
        yield
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            received.append(signal.SIGINT)
        if not received:
            raise
        # Whatever it is, it comes from the signal: extension modules change exceptions.
        print(f"error: {STOPS[signal.Signals(received[0])]}; {kept}", file=sys.stderr, flush=True)
        os._exit(128 + received[0])


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Word the error for a name that no registry has; the nearest known names come first.

    Args:
        kind: What the name was to be, for example "criterion".
        name: The unknown name.
        known: All names that would have been right.
    """
    known = sorted(known)
    told = f"{did_you_mean(name, known)}known: {', '.join(known)}" if known else "there are none"
    return f"unknown {kind} {name!r}; {told}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Word a hint at the known names that are nearest to `name`; it is empty if none is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}? " if near else ""


def brief(error: object, limit: int = 200) -> str:
    """Squeeze an error's message, or any text, into one line of at most `limit` characters."""
    return " ".join(str(error).split())[:limit]


def user_message(error: BaseException) -> str | None:
    """Return the line that tells the user of an error, or None if this program is at fault."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return f"{error.filename or 'disk'}: {error.strerror}"
    return None


@contextlib.contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn whatever the code of others raises inside the block into a `UserError`.

    Args:
        what: What failed; it begins the message.

    Raises:
        UserError: Any exception was raised inside the block. A `UserError` passes unchanged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what}: {type(error).__name__}: {brief(error, 300)}") from error


@contextlib.contextmanager
def extra(name: str) -> Iterator[None]:
    """Turn a failed import inside the block into a `UserError` that names the cure.

    Args:
        name: Extra of this distribution that the imported packages come with.

    Raises:
        UserError: A package is not installed; the message says how to install it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        raise UserError(f"{package} is not installed: pip install 'autos[{name}]'") from error
