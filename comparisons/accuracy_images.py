"""The image sets of docs/accuracy.md: `python -m comparisons.accuracy_images IDX_FOLDER CIFAR10`.

IDX_FOLDER holds the four files of Fashion-MNIST, as Debian's package dataset-fashion-mnist puts
them into /usr/share/datasets/fashion-mnist; CIFAR10 holds `train/<class>/*` and `test/<class>/*`,
one file per image. The sets go to data/raw. They hold no image that a predictor learned from or was
chosen by: none of the sample of Fashion-MNIST that comes with the repository, and of each class of
CIFAR-10 none of the first by name.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from autos.images.datasets import fashion_mnist_sample
from autos.images.datasets._idx import read_folder
from comparisons.cifar10_halves import IMAGES as SEEN

OUT = Path("data/raw")
IMAGES = {"train": 500, "test": 300}
"""Number of images of each class, by split."""

T = TypeVar("T")


def main(fashion_mnist: Path, cifar10: Path) -> None:
    """Write the image sets out of Fashion-MNIST and out of CIFAR-10."""
    fashion_mnist_images(fashion_mnist, fashion_mnist_sample.FOLDER, OUT / "accuracy_fashion_mnist")
    cifar10_images(cifar10, OUT / "accuracy_cifar10")


def fashion_mnist_images(full: Path, sample: Path, out: Path) -> None:
    """Write the first images of every class that are not in the sample, told by their content."""
    images, drawn = (read_folder(folder, classes=[], origin="") for folder in (full, sample))
    seen = {image.tobytes() for part in (drawn.train, drawn.test) for image in part[0]}
    for split, (pixels, labels) in {"train": images.train, "test": images.test}.items():
        for label in np.unique(labels):
            place = out / split / str(label)
            place.mkdir(parents=True, exist_ok=True)
            members = np.flatnonzero(labels == label)
            unseen = [index for index in members if pixels[index].tobytes() not in seen]
            for index in first(unseen, IMAGES[split], place):
                Image.fromarray(pixels[index, ..., 0]).save(place / f"{index:05}.png")


def cifar10_images(full: Path, out: Path) -> None:
    """Write the first images of every class, by name, after those that `cifar10_halves` takes."""
    for split in IMAGES:
        for folder in sorted((full / split).iterdir()):
            place = out / split / folder.name
            place.mkdir(parents=True, exist_ok=True)
            unseen = sorted(folder.iterdir())[SEEN[split] :]
            for file in first(unseen, IMAGES[split], place):
                (place / file.name).write_bytes(file.read_bytes())


def first(found: Sequence[T], count: int, place: Path) -> Sequence[T]:
    """Return the first of what was found, or exit if there is less than `count`."""
    if len(found) < count:
        sys.exit(f"error: {place}: only {len(found)} images are left, but {count} are needed")
    return found[:count]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
