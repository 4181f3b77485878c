"""The zarr store of an image set, as `prepare` writes it; without torch, which imports slowly."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError, unknown
from pipeline.stores import write_store

KIND, VERSION = "image set", 1
SPLITS = ("train", "validation", "test")


def find_store(folder: Path, name: str) -> Path:
    """Path of a prepared image set. Raises UserError: section `prepare` has made none by `name`."""
    path = folder / f"{name}.zarr"
    if not path.exists():
        prepared = [store.stem for store in folder.glob("*.zarr")]
        raise UserError(f"params.yaml: {unknown('image set', name, prepared)}")
    return path


def write_images(
    path: Path, raw: Mapping[str, tuple[np.ndarray, np.ndarray]], about: Mapping[str, Any]
) -> None:
    """Write the splits, each images uint8 [n, h, w, c] and labels [n], as one store."""
    arrays: dict[str, np.ndarray] = {}
    for split in SPLITS:
        images, labels = raw[split]
        arrays[f"{split}/images"] = images
        arrays[f"{split}/labels"] = labels.astype(np.uint16)
    scaled = _channel_moments(raw["train"][0])
    write_store(path, arrays, kind=KIND, version=VERSION, about={**about, **scaled})


def _channel_moments(images: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard deviation per channel from a histogram: exact, and light on memory."""
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
