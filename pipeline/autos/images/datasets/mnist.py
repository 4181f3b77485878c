"""MNIST (LeCun, Cortes, Burges): 70,000 handwritten digits, 28 x 28 grayscale."""

from autos.images.datasets._idx import read_standard
from autos.images.datasets.base import ImageSource, RawImages


def read(source: ImageSource) -> RawImages:
    """Read the image set, from a copy or the network.

    Raises:
        UserError: There is no copy and the download fails, or a file is damaged.
    """
    return read_standard(
        source,
        "MNIST",
        classes=[str(digit) for digit in range(10)],
        origin="MNIST, http://yann.lecun.com/exdb/mnist/",
        packages=[],
    )
