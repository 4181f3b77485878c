"""Augmentations of whole batches of images, uint8 [n, height, width, channels]."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

PADDING = 4
"""Number of black pixels that are put on each side before a crop."""


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return the images as they are."""
    return images


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Crop each image at random, and flip it with probability 1/2.

    The crop has the size of the image, after padding with 4 black pixels on each side; the flip is
    horizontal. He et al., CVPR 2016, section 4.2, describe this augmentation.
    """
    n, height, width, _ = images.shape
    padded = F.pad(images, (0, 0, PADDING, PADDING, PADDING, PADDING))
    offset = torch.randint(0, 2 * PADDING + 1, (2, n, 1), generator=generator)
    rows = offset[0] + torch.arange(height)
    columns = offset[1] + torch.arange(width)
    flip = torch.rand(n, 1, generator=generator) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    index = (torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :])
    return padded[tuple(part.to(images.device) for part in index)]


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "none": none,
    "crop_flip": crop_flip,
}
"""Functions of images and a generator, by the names of the augmentations."""
