"""Batches of a prepared image set: a few to score on, all of them to train on, or in order."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from autos.config import Config, Count
from autos.images.augmentation import AUGMENTATIONS
from autos.images.image_set import ImageSet, Split

CPU = torch.device("cpu")

EVALUATION_BATCH = 500
"""Number of images in a batch that no gradient is taken on."""


class ScoringConfig(Config):
    """The training images on which gradients are taken for scoring, without augmentation."""

    per_class: Count
    """Number of images drawn from every class."""
    batch_size: Count
    """Number of images in a batch."""
    batch_norm: Literal["train", "eval"]
    """Whether gradients are taken with the statistics of the batch, or with the running ones."""

    def batches(
        self, images: ImageSet, *, seed: int, device: torch.device = CPU
    ) -> list[tuple[Tensor, Tensor]]:
        """Draw `per_class` images of every class, or all if it has fewer, and shuffle them.

        Returns:
            Pairs of standardised images [n, channels, height, width] and labels [n].
        """
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(images.train), generator=generator)
        labels = images.train.labels[order]
        chosen = torch.cat(
            [order[labels == label][: self.per_class] for label in range(images.form.classes)]
        )
        chosen = chosen[torch.randperm(len(chosen), generator=generator)]
        return [
            (
                images.normalize(images.train.images[part]).to(device),
                images.train.labels[part].to(device),
            )
            for part in chosen.split(self.batch_size)
        ]


class ShuffledImages:
    """The training images in memory, in a new order every epoch; no per-image work in Python.

    Args:
        images: The image set.
        batch_size: Number of images in a batch.
        augmentation: Name of an entry of `AUGMENTATIONS`.
        seed: Seed of the orders and of the augmentation.
        device: Where the images are kept.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        batch_size: int,
        augmentation: str,
        seed: int,
        device: torch.device = CPU,
    ) -> None:
        self.images = images
        self.pixels = images.train.images.to(device)
        self.labels = images.train.labels.to(device)
        self.augment = AUGMENTATIONS[augmentation]
        self.batch_size = batch_size
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Begin anew at epoch 0, so that all trainings see the same orders."""
        if epoch == 0:
            self.generator.manual_seed(self.seed)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.labels), generator=self.generator)
        for part in order.to(self.labels.device).split(self.batch_size):
            pixels = self.augment(self.pixels[part], self.generator)
            yield self.images.normalize(pixels), self.labels[part]


class InOrder:
    """A split in large batches, in its own order and without augmentation.

    Args:
        images: The image set, which says how pixels are standardised.
        split: The split to read.
        device: Where the batches go.
    """

    def __init__(self, images: ImageSet, split: Split, device: torch.device = CPU) -> None:
        self.images, self.split, self.device = images, split, device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        parts = self.split.images.split(EVALUATION_BATCH)
        for pixels, labels in zip(parts, self.split.labels.split(EVALUATION_BATCH), strict=True):
            yield self.images.normalize(pixels.to(self.device)), labels.to(self.device)
