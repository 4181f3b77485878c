"""A prepared image set as training and scoring use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from autos.config import Config
from autos.errors import DamagedFileError, SettingError
from autos.images.store import KIND, SPLITS, VERSION
from autos.storage.zarr_store import read_store

PARTS = ("images", "labels")
"""What the names of the arrays of a split end with."""


@dataclass(frozen=True)
class ImageForm:
    """What a network for images is built for.

    Attributes:
        classes: Number of classes.
        channels: Number of channels of an image.
        size: Height and width of an image in pixels.
    """

    classes: int
    channels: int
    size: int


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: Pixels, uint8 [n, height, width, channels].
        labels: Classes, int64 [n].
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSet:
    """The train, validation and test split of one set of square images, all of one size.

    Attributes:
        train: Images to train and score on.
        validation: Images held out of training, to choose by.
        test: Images to measure on.
        about: Provenance: where the images came from, how they were split, the names of the
            classes, and "mean" and "std" of each channel of the training images, in [0, 1].
    """

    train: Split
    validation: Split
    test: Split
    about: dict[str, Any]

    @property
    def form(self) -> ImageForm:
        """What a network for these images is built for."""
        _, side, _, channels = self.train.images.shape
        return ImageForm(len(self.about["classes"]), channels, side)

    @classmethod
    @lru_cache(maxsize=4)
    def load(cls, path: Path) -> Self:
        """Read the image set from its store.

        Raises:
            MissingFileError: There is no store at `path`.
            DamagedFileError: The store is incomplete or damaged, or holds no image set.
        """
        arrays, about = read_store(path, kind=KIND, version=VERSION)
        _check(path, arrays, about)
        splits = {
            split: Split(
                torch.from_numpy(arrays[f"{split}/images"]),
                torch.from_numpy(arrays[f"{split}/labels"].astype(np.int64)),
            )
            for split in SPLITS
        }
        return cls(**splits, about=about)

    def normalize(self, images: Tensor) -> Tensor:
        """Standardise images by the mean and deviation of each channel of the training images.

        Args:
            images: Pixels, uint8 [n, height, width, channels].

        Returns:
            Float32 [n, channels, height, width], in channels-last memory format, which costs
            nothing from this layout.
        """
        mean = torch.tensor(self.about["mean"], device=images.device)
        std = torch.tensor(self.about["std"], device=images.device)
        scaled = images.float().mul_(1 / (255 * std)).sub_(mean / std)
        return scaled.permute(0, 3, 1, 2)


class _About(Config, extra="allow"):
    """What the description of a store has to tell."""

    classes: list[str] = Field(min_length=1)
    mean: list[float] = Field(min_length=1)
    std: list[Annotated[float, Field(gt=0)]]


def _check(path: Path, arrays: Mapping[str, np.ndarray], about: dict[str, Any]) -> None:
    try:
        known = _About.validated(about, str(path))
    except SettingError as error:
        raise DamagedFileError(str(error)) from None
    channels, sides = len(known.mean), set()
    for split in SPLITS:
        images, labels = (arrays.get(f"{split}/{part}", np.empty(())) for part in PARTS)
        sides.add(images.shape[1:])
        if (
            images.dtype != np.uint8
            or images.ndim != 4
            or images.shape[1:] != (images.shape[1], images.shape[1], channels)
            or labels.shape != images.shape[:1]
            or labels.dtype != np.uint16
            or labels.max(initial=0) >= len(known.classes)
        ):
            raise DamagedFileError(f"{path}: the {split} images and labels are not an image set's")
    if len(sides) > 1 or len(known.std) != channels:
        raise DamagedFileError(f"{path}: the images, or the channels, of its parts differ")
