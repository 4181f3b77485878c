"""Zarr stores that are either whole and as written, or refused by name.

Zarr alone reads a missing chunk as the fill value. Here the checksums of the arrays and of the
description are in the root attributes, which are written last, and a store appears under its name
only when it is complete.
"""

import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autos.errors import DamagedFileError, MissingFileError, brief, extra
from autos.storage.files import check_kind

if TYPE_CHECKING:
    import zarr

CHUNK = 2**18
"""Number of elements in a chunk, the unit of reading."""

SHARD = 2**22
"""Number of elements in a shard, which is one file."""

DAMAGE = (
    AssertionError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip
"""The exceptions that zarr raises for metadata and chunks that are not as it wrote them."""

Arrays = Mapping[str, np.ndarray]
"""Arrays by name; a name such as "train/images" makes a group."""


def write_store(
    path: Path, arrays: Arrays, *, kind: str, version: int, about: Mapping[str, Any]
) -> None:
    """Write named arrays and a JSON description as one zarr store, atomically.

    The same input gives the same bytes.

    Args:
        path: Path of the store, a folder.
        arrays: The arrays by name.
        kind: What the store is; reading checks it.
        version: Version of the store's form; reading refuses another one.
        about: Description of the content, anything that JSON holds.

    Raises:
        UserError: Zarr is not installed.
    """
    with extra("pipeline"):
        import zarr  # Most of the library does without it.

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        root = zarr.create_group(temporary)
        for name, values in arrays.items():
            rows = max(1, CHUNK // max(1, math.prod(values.shape[1:])))
            chunk = min(rows, max(1, len(values)))
            shard = chunk * max(1, min(SHARD // CHUNK, math.ceil(len(values) / chunk)))
            root.create_array(
                name,
                data=values,
                chunks=(chunk, *values.shape[1:]),
                shards=(shard, *values.shape[1:]),
                dimension_names=("index", *(f"axis_{i}" for i in range(1, values.ndim))),
                config={"write_empty_chunks": True},
            )
        root.update_attributes(
            {
                "kind": kind,
                "version": version,
                "sha256": {name: _digest(values) for name, values in arrays.items()},
                "about_sha256": _text_digest(about),
                "about": dict(about),
            }
        )
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # A full disk comes without a name.
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_store(
    path: Path, *, kind: str, version: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a store that `write_store` wrote.

    Returns:
        All arrays by name, and the description.

    Raises:
        MissingFileError: There is no store.
        DamagedFileError: The store is incomplete or altered, or of another version.
        UserError: The store is of another kind, or zarr is not installed.
    """
    root = _open(path)
    header: dict[str, Any] = dict(root.attrs)
    check_kind(path, header, kind=kind, version=version)
    try:
        sums = dict(header["sha256"])
        arrays = {name: np.asarray(root[name]) for name in sums}
    except DAMAGE as error:
        raise _damaged(path, error) from None
    for name, values in arrays.items():
        if _digest(values) != sums[name]:
            raise DamagedFileError(f"{path}: damaged (array {name!r} does not match its checksum)")
    about = header.get("about")
    if _text_digest(about) != header.get("about_sha256"):
        raise DamagedFileError(f"{path}: damaged (description does not match its checksum)")
    if not isinstance(about, dict):
        raise DamagedFileError(f"{path}: damaged (its description is no mapping)")
    return arrays, about


def store_digest(path: Path) -> str:
    """Return the digest of what a store says it holds; the arrays themselves are not read.

    Raises:
        MissingFileError: There is no store.
        DamagedFileError: The store cannot be opened.
    """
    return hashlib.sha256(json.dumps(dict(_open(path).attrs), sort_keys=True).encode()).hexdigest()


def _open(path: Path) -> "zarr.Group":
    with extra("pipeline"):
        import zarr  # Most of the library does without it.

    if not path.exists():
        raise MissingFileError(f"{path}: not found")
    try:
        return zarr.open_group(path, mode="r")
    except DAMAGE as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DamagedFileError:
    reason = brief(error) or type(error).__name__
    return DamagedFileError(f"{path}: damaged or incomplete ({reason})")


def _digest(values: np.ndarray) -> str:
    state = hashlib.sha256(f"{values.dtype.str} {values.shape}\n".encode())
    state.update(np.ascontiguousarray(values).data)
    return state.hexdigest()


def _text_digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
