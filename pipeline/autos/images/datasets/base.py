"""What the readers of image sets share: settings, the form of the result, search and splitting."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from autos.config import Config, Count
from autos.errors import UserError, unknown

RAW = Path("data/raw")
"""Folder where copies of image sets are looked for, and where downloads go."""


class ImageSource(Config):
    """An image set and how it is split."""

    kind: str
    """Name of the image set in `autos.images.datasets.DATASETS`."""
    path: Path | None = None
    """Folder of the user's copy; None stands for data/raw/<kind>."""
    validation: float = Field(gt=0, lt=1)
    """Fraction of every class's training images that is held out for validation."""
    test: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of every class that is held out as test images, for a folder without them."""
    size: Count | None = None
    """Side in pixels to which the central squares of images from a folder are resized."""
    seed: int = Field(default=0, ge=0, le=2**62)
    """Seed by which images are drawn to be held out."""

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        from autos.images.datasets import DATASETS  # Its readers import this module.

        if kind not in DATASETS:
            raise ValueError(unknown("image set", kind, DATASETS))
        return kind

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind != "image_folder" and (self.test or self.size):
            raise ValueError("test and size belong to kind 'image_folder'")
        return self

    @property
    def folder(self) -> Path:
        """Folder where the user's copy is, or would be."""
        return (self.path or RAW / self.kind).expanduser()


Labelled = tuple[np.ndarray, np.ndarray]
"""Images uint8 [n, height, width, channels] and labels, integers [n]."""


@dataclass(frozen=True)
class RawImages:
    """An image set as its makers split it.

    Attributes:
        train: Training images.
        test: Test images.
        classes: Names of the classes, in the order of the labels.
        provenance: What identifies the content, whatever machine and folder it was read from.
    """

    train: Labelled
    test: Labelled
    classes: list[str]
    provenance: dict[str, Any]


def find_or_download(
    source: ImageSource,
    places: Sequence[Path],
    *,
    wanted: str,
    complete: Callable[[Path], bool],
    download: Callable[[Path], object],
) -> Path:
    """Return the first place that is complete, if need be after a download to `source.folder`.

    Args:
        source: The image set.
        places: Folders that may hold it.
        wanted: What a complete folder holds, for the error message.
        complete: Tells whether a folder holds the whole image set.
        download: Downloads the image set into a folder.

    Raises:
        UserError: No place is complete, and the download fails.
    """
    for place in places:
        if complete(place):
            return place
    try:
        download(source.folder)
    except (OSError, RuntimeError, HTTPException) as error:
        raise UserError(
            f"{source.kind}: no {wanted} in {', '.join(map(str, places))}, and the download failed "
            f"({' '.join(str(error).split())}); put a copy there or name its folder in `path`"
        ) from None
    return next(place for place in places if complete(place))


def hold_out(
    labels: np.ndarray, fraction: float, *, classes: Sequence[str], seed: int, setting: str
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a fraction of every class at random, to hold it out.

    Args:
        labels: Classes of the images, integers [n].
        fraction: Fraction to hold out, in (0, 1).
        classes: Names of the classes, in the order of the labels.
        seed: Seed of the draw.
        setting: Name of the setting that gives the fraction, for the error message.

    Returns:
        Indices of the images that are kept and of those that are held out, both ascending.

    Raises:
        UserError: A class would be without an image in one of the two parts.
    """
    generator = np.random.default_rng(seed)
    held = np.zeros(len(labels), dtype=bool)
    for label, name in enumerate(classes):
        members = generator.permutation(np.flatnonzero(labels == label))
        count = round(fraction * len(members))
        if not 0 < count < len(members):
            raise UserError(
                f"{setting}: {fraction:g} of the {len(members)} images of class {name!r} are "
                f"{count}, but both parts need at least one"
            )
        held[members[:count]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)
