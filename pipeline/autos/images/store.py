"""Image sets on disk: one zarr store each, found by name, written by `autos.images.prepare`.

This module does without torch, which takes seconds to import.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from autos.errors import SettingError, unknown
from autos.storage.zarr_store import write_store

KIND, VERSION = "image set", 1
SPLITS = ("train", "validation", "test")
"""Names of the splits of every image set."""

PREPARED = Path("data/images")
"""Folder of the prepared image sets, within the current one."""


def prepared(folder: Path = PREPARED) -> dict[str, Path]:
    """Return the stores in a folder by the names of their image sets."""
    return {path.stem: path for path in sorted(folder.glob("*.zarr"))}


def find_store(name: str, folder: Path = PREPARED) -> Path:
    """Return the path of a prepared image set.

    Args:
        name: Name of the image set, or the path of its store.
        folder: Where the stores are.

    Raises:
        SettingError: No image set of this name is prepared.
    """
    known = prepared(folder)
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix == ".zarr" and path.is_dir():
        return path
    raise SettingError(unknown("image set", name, known))


def write_images(
    path: Path, raw: Mapping[str, tuple[np.ndarray, np.ndarray]], about: Mapping[str, Any]
) -> None:
    """Write the splits of an image set as one store.

    Args:
        path: Path of the store.
        raw: Images, uint8 [n, height, width, channels], and labels, integers [n], by split.
        about: Provenance. The mean and standard deviation of each channel are added to it.
    """
    arrays: dict[str, np.ndarray] = {}
    for split in SPLITS:
        images, labels = raw[split]
        arrays[f"{split}/images"] = images
        arrays[f"{split}/labels"] = labels.astype(np.uint16)
    scaled = _channel_moments(raw["train"][0])
    write_store(path, arrays, kind=KIND, version=VERSION, about={**about, **scaled})


def _channel_moments(images: np.ndarray) -> dict[str, list[float]]:
    """Return mean and standard deviation per channel, exact and light on memory by a histogram."""
    levels = np.arange(256) / 255
    mean, std = [], []
    for channel in range(images.shape[-1]):
        parts = np.array_split(images[..., channel], max(1, len(images) // 1000))
        counts = sum(np.bincount(part.ravel(), minlength=256) for part in parts)
        share = counts / images[..., channel].size
        mean.append(float(share @ levels))
        # A constant channel stays finite when it is divided by its deviation.
        std.append(float(np.sqrt(share @ (levels - mean[-1]) ** 2)) or 1.0)
    return {"mean": mean, "std": std}
