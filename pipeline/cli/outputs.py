"""Files that a command is to write, checked before it works for minutes."""

import tempfile
from pathlib import Path

from pipeline.errors import UserError


def check_writable(option: str, path: Path, suffix: str) -> None:
    """Raises UserError: `path`, given by `option`, has another ending or cannot be written."""
    if path.suffix != suffix or (path.exists() and not path.is_file()):
        raise UserError(f"{option} {path}: must be a file with the ending {suffix}")
    folder = next(place for place in path.absolute().parents if place.exists())
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"{option} {path}: cannot be written ({folder}: {error.strerror})"
        ) from None
