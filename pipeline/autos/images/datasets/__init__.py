"""The image sets that can be prepared; each is a module with a function `read`, and a line here."""

from collections.abc import Callable

from autos.images.datasets import (
    cifar10,
    cifar100,
    fashion_mnist,
    fashion_mnist_sample,
    image_folder,
    mnist,
    tiny_imagenet,
)
from autos.images.datasets.base import ImageSource, RawImages

DATASETS: dict[str, Callable[[ImageSource], RawImages]] = {
    "fashion_mnist_sample": fashion_mnist_sample.read,
    "fashion_mnist": fashion_mnist.read,
    "mnist": mnist.read,
    "cifar10": cifar10.read,
    "cifar100": cifar100.read,
    "tiny_imagenet": tiny_imagenet.read,
    "image_folder": image_folder.read,
}
"""Functions that read an image set, by its kind."""
