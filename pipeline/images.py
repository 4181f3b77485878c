"""A prepared image set as training and scoring use it."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pipeline.config import Config
from pipeline.image_store import KIND, SPLITS, VERSION
from pipeline.stores import read_store

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Split:
    """Images uint8 [n, height, width, channels] and labels int64 [n]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageSet:
    """Train, validation and test split of one set of images, all of one size.

    Attributes:
        about: provenance: where the images came from, how they were split, class names, and
            "mean" and "std" of each channel of the training images, in [0, 1].
    """

    train: Split
    validation: Split
    test: Split
    about: dict[str, Any]

    @property
    def classes(self) -> int:
        return len(self.about["classes"])

    @property
    def channels(self) -> int:
        return self.train.images.shape[-1]

    @property
    def size(self) -> int:
        """Height and width of an image in pixels."""
        return self.train.images.shape[1]

    @classmethod
    @lru_cache(maxsize=4)
    def load(cls, path: Path) -> Self:
        """Raises UserError: the store is missing, incomplete or damaged."""
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
        """uint8 [n, height, width, channels] to standardised float32 [n, channels, height, width].

        The result is in channels-last memory format, which costs nothing from this layout.
        """
        mean = torch.tensor(self.about["mean"], device=images.device)
        std = torch.tensor(self.about["std"], device=images.device)
        scaled = images.float().mul_(1 / (255 * std)).sub_(mean / std)
        return scaled.permute(0, 3, 1, 2)


class ScoringConfig(Config):
    """The training images on which gradients are taken for scoring, without augmentation."""

    per_class: int = Field(gt=0)
    """Images drawn from every class."""
    batch_size: int = Field(gt=0)
    batch_norm: Literal["train", "eval"]
    """Take gradients with the statistics of the batch, or with the running ones."""

    def batches(
        self, images: ImageSet, *, seed: int, device: torch.device = CPU
    ) -> list[tuple[Tensor, Tensor]]:
        """Draw `per_class` images of every class (all, if it has fewer), shuffled."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(images.train), generator=generator)
        labels = images.train.labels[order]
        chosen = torch.cat(
            [order[labels == label][: self.per_class] for label in range(images.classes)]
        )
        chosen = chosen[torch.randperm(len(chosen), generator=generator)]
        return [
            (
                images.normalize(images.train.images[part]).to(device),
                images.train.labels[part].to(device),
            )
            for part in chosen.split(self.batch_size)
        ]
