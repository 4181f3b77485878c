"""Random pruning to a number of weights per layer."""

from functools import partial

import pytest
import torch

from autos.masks import allocation
from autos.methods.criteria import CRITERIA
from autos.network.prunable import prunable
from autos.pruning import prune

CASES = [
    ("uniform", {}, allocation.uniform),
    ("erk", {}, allocation.erk),
    ("igq", {}, allocation.igq),
    ("uniform_plus", {}, allocation.uniform_plus),
    ("uniform_plus", {"last": 0.9}, partial(allocation.uniform_plus, last=0.9)),
    ("smart_ratio", {}, allocation.smart_ratio),
    ("smart_ratio", {"family": "vgg"}, partial(allocation.smart_ratio, steep=True)),
    ("smart_ratio", {"last": 0.9}, partial(allocation.smart_ratio, last=0.9)),
]


@pytest.mark.parametrize(("name", "settings", "allocate"), CASES)
@pytest.mark.parametrize("density", [0.45, 0.8, 1])
def test_every_layer_keeps_its_exact_number(conv_net, batches, name, settings, allocate, density):
    mask = prune(conv_net, CRITERIA[name], batches, density=density, settings=settings)
    shapes = {name: weight.shape for name, weight in prunable(conv_net).items()}
    counts = {name: int(keep.sum()) for name, keep in mask.keep.items()}
    assert counts == allocate(shapes, round(density * mask.total))


def test_positions_are_random(mlp, batches):
    kept = sum(
        prune(mlp, CRITERIA["uniform"], batches, density=0.5, seed=seed).keep["fc1.weight"].int()
        for seed in range(200)
    )
    # Of a binomial count, 4.5 standard deviations; there are 768.
    assert abs(kept - 100).max() < 4.5 * 50**0.5
    assert torch.std(kept.double()) == pytest.approx(50**0.5, rel=0.15)
