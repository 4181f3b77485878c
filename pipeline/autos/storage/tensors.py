"""Safetensors files that are either whole and as written, or refused by name."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autos.errors import DamagedFileError, MissingFileError, UserError, brief
from autos.storage.files import check_kind, replacing

DAMAGE = (SafetensorError, OSError, LookupError, RecursionError, TypeError, ValueError)
"""The exceptions that files raise which `write_tensors` did not write."""


def digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """Return the SHA-256 over the header, and the tensors' names, types, shapes and bytes."""
    state = hashlib.sha256(json.dumps(header).encode())
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, kind: str, version: int, about: Mapping[str, Any]
) -> None:
    """Write tensors and a JSON description as one safetensors file, atomically.

    Args:
        path: Path of the file.
        tensors: Tensors by name, on any device.
        kind: What the file is, for example "mask"; reading checks it.
        version: Version of the file's form; reading refuses another one.
        about: Description of the content, anything that JSON holds.

    Raises:
        UserError: The disk is full or fails.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"kind": kind, "version": version, "about": about, "order": list(whole)}
    # There is one metadata entry, since safetensors writes several in random order, and the
    # same content must give the same bytes.
    metadata = {"autos": json.dumps({**header, "sha256": digest(whole, header)})}
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(whole, temporary, metadata)
        except SafetensorError as error:
            raise UserError(f"{path}: {error}") from None


def read_tensors(
    path: Path, *, kind: str, version: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that `write_tensors` wrote.

    Returns:
        The tensors by name, in the order in which they were given, and the description.

    Raises:
        MissingFileError: The file is not there.
        DamagedFileError: The file is cut short or altered, or of another version.
        UserError: The file is of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("autos", "{}"))
            check_kind(path, header, kind=kind, version=version)
            tensors = {name: file.get_tensor(name) for name in header["order"]}
    except FileNotFoundError:
        raise MissingFileError(f"{path}: not found") from None
    except DAMAGE as error:
        raise DamagedFileError(f"{path}: damaged ({brief(error)})") from None
    if header.pop("sha256", None) != digest(tensors, header):
        raise DamagedFileError(f"{path}: damaged (content does not match its checksum)")
    if not isinstance(header.get("about"), dict):
        raise DamagedFileError(f"{path}: damaged (its description is no mapping)")
    return tensors, header["about"]
