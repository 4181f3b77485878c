"""Files that appear under their name only when they are whole, and JSON and YAML in them.

JSON that a later step believes is a `Record` (`autos.storage.records`).
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from autos.errors import DamagedFileError, MissingFileError, UserError, brief

NOT_YAML = (
    yaml.YAMLError, AttributeError, LookupError, OverflowError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip
"""The exceptions that PyYAML raises, also for a wrong date, a very long number, or deep nesting."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling that takes the place of `path` once the block ends well.

    A reader, or the next run after a crash, sees the old content or the new, never a part.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # A full disk comes without a name.
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, atomically, with the keys in the given order."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_yaml(path: Path) -> Any:
    """Read a YAML file that a user wrote.

    Raises:
        UserError: The file is not there, or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: not found") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except NOT_YAML as error:
        raise UserError(f"{path}: not valid YAML: {brief(error)}") from None


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal digits.

    Raises:
        MissingFileError: The file is not there.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise MissingFileError(f"{path}: not found") from None


def check_kind(path: Path, header: Any, *, kind: str, version: int) -> None:
    """Refuse a file that is of another kind or version than wanted.

    Args:
        path: Path of the file, for the message.
        header: What the file says of itself under "kind" and "version", if it is a mapping.
        kind: The kind that is wanted, for example "mask".
        version: The version that is wanted.

    Raises:
        UserError: The file is of another kind.
        DamagedFileError: The file is of another version, or its header is no mapping.
    """
    if not isinstance(header, dict):
        raise DamagedFileError(f"{path}: damaged (holds no mapping but a {type(header).__name__})")
    if header.get("kind") != kind:
        raise UserError(f"{path}: is not a {kind} but {header.get('kind', 'something else')}")
    if header.get("version") != version:
        raise DamagedFileError(
            f"{path}: {kind} of version {header.get('version')}, but this code reads version "
            f"{version}"
        )
