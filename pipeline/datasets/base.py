"""What the readers of image sets have in common: their settings, their result, the search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from pipeline.config import Config
from pipeline.errors import UserError, unknown

RAW = Path("data/raw")
"""Where copies of image sets are looked for, and where downloads go."""


class ImageSource(Config):
    """An image set and how it is split."""

    kind: str
    """A name in `DATASETS`."""
    path: Path | None = None
    """Folder of the user's copy; without it data/raw/<kind>."""
    validation: float = Field(gt=0, lt=1)
    """Fraction of every class's training images that is held out for validation."""
    test: float | None = Field(default=None, gt=0, lt=1)
    """Fraction of every class that is held out as test images, for a folder without them."""
    size: int | None = Field(default=None, gt=0)
    """Images from a folder are cut to their central square and resized to this many pixels."""
    seed: int = Field(default=0, ge=0)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        from pipeline.datasets import DATASETS  # not at the top: its readers import this module

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
        """Where the user's copy is, or would be."""
        return (self.path or RAW / self.kind).expanduser()


Labelled = tuple[np.ndarray, np.ndarray]
"""Images uint8 [n, height, width, channels] and labels, integers [n]."""


@dataclass(frozen=True)
class RawImages:
    """An image set as its makers split it.

    Attributes:
        provenance: identifies the content, whatever machine and folder it was read from.
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
    """Return the first place that is complete, if need be after a download to `source.folder`."""
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
    """Draw `fraction` of every class; return the indices that are kept and those held out.

    Raises:
        UserError: a class would be without an image in one of the two parts.
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
