"""What all tests of criteria share."""

import pytest
import torch

from autos.config import Config
from autos.methods.base import Context


@pytest.fixture
def context():
    """Makes the context in which a score is asked for."""

    def make(batches, density=0.5, seed=0, settings=None):
        generator = torch.Generator().manual_seed(seed)
        return Context(batches, density, generator, settings=settings or Config())

    return make


@pytest.fixture
def draws():
    """Inputs [n, features] and labels below `classes`, float64, in the given batch sizes."""

    def make(*sizes, features=4, classes=3, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return [
            (
                torch.randn(n, features, generator=generator, dtype=torch.float64),
                torch.randint(classes, (n,), generator=generator),
            )
            for n in sizes
        ]

    return make
