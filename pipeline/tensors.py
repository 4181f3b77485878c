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

from pipeline.errors import UserError
from pipeline.files import CURE, check_kind, replacing


def digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """SHA-256 over the header, and the names, types, shapes and bytes of the tensors."""
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
        kind: what the file is, for example "mask"; checked on reading.
        version: of the file's form; another one is refused on reading.
        about: description, anything that JSON holds.

    Raises:
        UserError: the disk is full or fails.
    """
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"kind": kind, "version": version, "about": about, "order": list(whole)}
    # One metadata entry: safetensors writes several in random order, and bytes must repeat.
    metadata = {"autos": json.dumps({**header, "sha256": digest(whole, header)})}
    with replacing(path) as temporary:
        try:
            safetensors.torch.save_file(whole, temporary, metadata)
        except SafetensorError as error:
            raise UserError(f"{path}: {error}") from None


def read_tensors(
    path: Path, *, kind: str, version: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors, in their order, and the description that `write_tensors` stored.

    Raises:
        UserError: missing, truncated or altered file, or one of another kind or version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("autos", "{}"))
            tensors = {name: file.get_tensor(name) for name in header.get("order", [])}
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run `dvc repro`") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); {CURE}") from None
    check_kind(path, header, kind=kind, version=version)
    if header.pop("sha256", None) != digest(tensors, header):
        raise UserError(f"{path}: damaged (content does not match its checksum); {CURE}")
    return tensors, header["about"]
