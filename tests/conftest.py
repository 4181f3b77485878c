"""Small things that many tests need: images that can be learned, and networks of two kinds."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import nn

from autos.images.image_set import ImageSet
from autos.images.loaders import ScoringConfig
from autos.images.store import write_images
from autos.masks.mask import Mask
from autos.network.initialize import initialize

# The same examples every time, and no time limit on shared cores.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
torch.set_num_threads(1)  # as in the pipeline: small networks lose time to threads

CLASSES, SIDE = 3, 8


def pytest_collection_modifyitems(items):
    """The longest file first, so that no core waits for it in the end."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


@pytest.fixture
def cut():
    """Takes weights out of a mask: those at an index of the layer of that name."""

    def cut(mask, name, index):
        keep = mask.keep[name].clone()
        keep[index] = False
        return Mask({**mask.keep, name: keep})

    return cut


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def _draw(count, seed):
    """`count` noisy images of 8x8x1; each class has a pattern of its own."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(0).integers(60, 196, (CLASSES, SIDE, SIDE, 1))
    labels = np.arange(count) % CLASSES
    rng.shuffle(labels)
    noise = rng.integers(-60, 60, (count, SIDE, SIDE, 1))
    return (patterns[labels] + noise).astype(np.uint8), labels


@pytest.fixture(scope="session")
def image_store(tmp_path_factory):
    """A stored image set: 3 classes of 8x8 grey images, 75 + 30 + 30 of them."""
    path = tmp_path_factory.mktemp("images") / "tiny.zarr"
    splits = {"train": _draw(75, 1), "validation": _draw(30, 2), "test": _draw(30, 3)}
    write_images(path, splits, {"classes": ["a", "b", "c"]})
    return path


@pytest.fixture(scope="session")
def images(image_store):
    return ImageSet.load(image_store)


@pytest.fixture(scope="session")
def batches(images):
    """15 training images in batches of 6, 6 and 3, for scoring."""
    config = ScoringConfig(per_class=5, batch_size=6, batch_norm="train")
    return config.batches(images, seed=0)


@pytest.fixture
def mlp():
    """Two layers with biases, for 8x8 grey images: 64 * 12 + 12 * 3 weights."""
    layers = OrderedDict(
        flatten=nn.Flatten(), fc1=nn.Linear(64, 12), relu=nn.ReLU(), fc2=nn.Linear(12, 3)
    )
    return initialize(nn.Sequential(layers), seed=0)


@pytest.fixture
def conv_net():
    """Convolutions with batch normalisation, one of them grouped: 36 + 72 + 24 weights."""
    layers = OrderedDict(
        conv1=nn.Conv2d(1, 4, 3, padding=1, bias=False),
        bn1=nn.BatchNorm2d(4),
        relu1=nn.ReLU(),
        conv2=nn.Conv2d(4, 8, 3, stride=2, groups=4),
        bn2=nn.BatchNorm2d(8),
        relu2=nn.ReLU(),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        fc=nn.Linear(8, 3),
    )
    return initialize(nn.Sequential(layers), seed=0)
