"""Files that appear under their name only when they are whole, and JSON in them."""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError

SHIPPED = Path(__file__).with_name("shipped")
"""Folder of the predictors that come with the package; `make shipped` trains them."""

CURE = "delete it and run `dvc repro` again"


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
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` as JSON, atomically, keys in the given order."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Raises UserError: the file is missing or is not JSON."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro`") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); {CURE}") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes. Raises UserError: the file is missing."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro`") from None


def check_kind(path: Path, header: Mapping[str, Any], *, kind: str, version: int) -> None:
    """Raises UserError: the file at `path` is of another kind or version than wanted."""
    if header.get("kind") != kind:
        raise UserError(f"{path}: is not a {kind} but {header.get('kind', 'something else')}")
    if header.get("version") != version:
        raise UserError(
            f"{path}: {kind} of version {header.get('version')}, but this code reads version "
            f"{version}; {CURE}"
        )
