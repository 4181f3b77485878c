"""Which errors a command reports as one line, and with what exit code."""

import errno

from pipeline.errors import UserError

USER_ERROR = 2

DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EIO,
)


def one_line(error: BaseException) -> str | None:
    """What to tell the user, or None if it is a mistake of this program."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return f"{error.filename or 'disk'}: {error.strerror}"
    return None
