"""Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv:1708.07747): 70,000 garments, 28 x 28 grayscale."""

from pathlib import Path

from autos.images.datasets._idx import read_standard
from autos.images.datasets.base import ImageSource, RawImages

CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
ORIGIN = "Fashion-MNIST, https://github.com/zalandoresearch/fashion-mnist"

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Folder in which Debian's package dataset-fashion-mnist puts the files."""


def read(source: ImageSource) -> RawImages:
    """Read the image set, from a copy, Debian's package or the network.

    Raises:
        UserError: There is no copy and the download fails, or a file is damaged.
    """
    return read_standard(source, "FashionMNIST", classes=CLASSES, origin=ORIGIN, packages=[DEBIAN])
