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
from typing import Any

import numpy as np
import zarr

from pipeline.errors import UserError
from pipeline.files import CURE, check_kind

CHUNK = 2**18
SHARD = 2**22
"""Elements per chunk (the unit of reading) and per shard (one file)."""

DAMAGE = (
    AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError
)  # fmt: skip
"""What zarr raises for metadata and chunks that are not as it wrote them."""

Arrays = Mapping[str, np.ndarray]


def write_store(
    path: Path, arrays: Arrays, *, kind: str, version: int, about: Mapping[str, Any]
) -> None:
    """Write named arrays and a JSON description as one zarr store, atomically.

    Args:
        arrays: values by name; a name such as "train/images" makes a group.
        kind: what the store is; checked on reading.
        version: of the store's form; another one is refused on reading.
        about: description, anything that JSON holds; the same input gives the same bytes.
    """
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
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_store(path: Path, *, kind: str, version: int) -> tuple[dict[str, np.ndarray], Any]:
    """Return all arrays by name and the description that `write_store` stored.

    Raises:
        UserError: missing, incomplete or altered store, or one of another kind or version.
    """
    root = _open(path)
    header: dict[str, Any] = dict(root.attrs)
    check_kind(path, header, kind=kind, version=version)
    try:
        arrays = {name: np.asarray(root[name]) for name in header["sha256"]}
    except DAMAGE as error:
        raise UserError(f"{path}: damaged or incomplete ({_line(error)}); {CURE}") from None
    for name, values in arrays.items():
        if _digest(values) != header["sha256"][name]:
            raise UserError(f"{path}: damaged (array {name!r} does not match its checksum); {CURE}")
    about = header.get("about")
    if _text_digest(about) != header.get("about_sha256"):
        raise UserError(f"{path}: damaged (description does not match its checksum); {CURE}")
    return arrays, about


def store_digest(path: Path) -> str:
    """Digest of what a store says it holds; does not read the arrays.

    Raises:
        UserError: there is no store at `path`.
    """
    return hashlib.sha256(json.dumps(dict(_open(path).attrs), sort_keys=True).encode()).hexdigest()


def _open(path: Path) -> zarr.Group:
    if not path.exists():
        raise UserError(f"{path}: not found; run `dvc repro`")
    try:
        return zarr.open_group(path, mode="r")
    except DAMAGE as error:
        raise UserError(f"{path}: damaged or incomplete ({_line(error)}); {CURE}") from None


def _digest(values: np.ndarray) -> str:
    state = hashlib.sha256(f"{values.dtype.str} {values.shape}\n".encode())
    state.update(np.ascontiguousarray(values).data)
    return state.hexdigest()


def _text_digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
