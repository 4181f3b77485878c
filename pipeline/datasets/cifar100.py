"""CIFAR-100 (Krizhevsky 2009): 60,000 photographs of 100 kinds of things, 32 x 32 RGB."""

from pipeline.datasets._cifar import read_standard
from pipeline.datasets.base import ImageSource, RawImages


def read(source: ImageSource) -> RawImages:
    return read_standard(source, "CIFAR100")
