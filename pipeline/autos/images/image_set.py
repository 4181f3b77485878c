"""A prepared image set as training and scoring use it."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from autos.images.store import KIND, SPLITS, VERSION
from autos.storage.zarr_store import read_store


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
            DamagedFileError: The store is incomplete or damaged.
        """
        arrays, about = read_store(path, kind=KIND, version=VERSION)
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
