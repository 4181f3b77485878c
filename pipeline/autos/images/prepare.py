"""From an image set as its makers give it to the store that every later stage reads."""

from pathlib import Path
from typing import Any

import numpy as np

from autos.errors import UserError
from autos.images.datasets import DATASETS
from autos.images.datasets.base import ImageSource, Labelled, RawImages, hold_out
from autos.images.store import KIND, VERSION, write_images
from autos.storage.zarr_store import read_store


def prepare(source: ImageSource, out: Path) -> dict[str, Any]:
    """Read an image set, hold some images out for validation, and store all of them.

    Args:
        source: The image set, and how it is split.
        out: Path of the store to write.

    Returns:
        The description that the store holds.

    Raises:
        UserError: The images are not found or not as they must be.
    """
    raw = DATASETS[source.kind](source)
    _check(raw, source.kind)
    images, labels = raw.train
    kept, held = hold_out(
        labels,
        source.validation,
        classes=raw.classes,
        seed=source.seed,
        setting=f"{source.kind}: validation",
    )
    splits: dict[str, Labelled] = {
        "train": (images[kept], labels[kept]),
        "validation": (images[held], labels[held]),
        "test": raw.test,
    }
    about = {
        "kind": source.kind,
        "classes": raw.classes,
        "sizes": {name: len(labels) for name, (_, labels) in splits.items()},
        "validation": source.validation,
        "seed": source.seed,
        "provenance": raw.provenance,
    }
    write_images(out, splits, about)
    return read_store(out, kind=KIND, version=VERSION)[1]


def _check(raw: RawImages, kind: str) -> None:
    for part, (images, labels) in {"training": raw.train, "test": raw.test}.items():
        where = f"{kind}: the {part} images"
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
            raise UserError(
                f"{where} must be uint8 [n, side, side, channels], not {images.dtype} "
                f"{list(images.shape)}"
            )
        if images.shape[1:] != raw.train[0].shape[1:]:
            raise UserError(f"{where} differ from the training images in size or channels")
        if len(images) != len(labels) or not len(labels):
            raise UserError(f"{where} number {len(images)}, their labels {len(labels)}")
        if not 0 <= labels.min() <= labels.max() < len(raw.classes):
            raise UserError(
                f"{where} have labels from {labels.min()} to {labels.max()}, but the "
                f"{len(raw.classes)} classes are numbered from 0"
            )
