"""CIFAR-100 (Krizhevsky 2009): 60,000 photographs of 100 kinds of things, 32 x 32 RGB."""

from autos.images.datasets._cifar import read_standard
from autos.images.datasets.base import ImageSource, RawImages


def read(source: ImageSource) -> RawImages:
    """Read the image set, from a copy or the network.

    Raises:
        UserError: There is no copy and the download fails, or the files are damaged.
    """
    return read_standard(source, "CIFAR100")
