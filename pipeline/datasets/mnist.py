"""MNIST (LeCun, Cortes, Burges): 70,000 handwritten digits, 28 x 28 grayscale."""

from pipeline.datasets._idx import read_standard
from pipeline.datasets.base import ImageSource, RawImages


def read(source: ImageSource) -> RawImages:
    return read_standard(
        source,
        "MNIST",
        classes=[str(digit) for digit in range(10)],
        origin="MNIST, http://yann.lecun.com/exdb/mnist/",
        packages=[],
    )
