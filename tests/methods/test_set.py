"""SET, sparse evolutionary training."""

from itertools import pairwise

import pytest
import torch

from autos.masks.allocation import er
from autos.methods.set_ import METHOD, SET, Settings
from autos.network.prunable import prunable


def rewired(loop, zeta=0.5, initial=(7.0,), seed=0):
    values = {name: torch.tensor(initial, dtype=torch.float64) for name in loop.weights}
    SET(Settings(zeta=zeta), values, torch.Generator().manual_seed(seed)).after_step(loop)


def test_drops_those_nearest_zero_of_the_positive_and_of_the_negative_ones(toy):
    weights = [[0.1, 0.2, 0.3, 0.4, -1.0, -2.0, 0.0, 0.0]]
    loop = toy({"a": weights}, {"a": [[1, 1, 1, 1, 1, 1, 0, 0]]}, step=10)
    rewired(loop)
    weight, keep = loop.weights["a.weight"], loop.keep["a.weight"]
    # By |w| alone, 0.1, 0.2 and 0.3 would go. What came in is 7, wherever it is.
    stayed = (weight != 7) & (keep > 0)
    assert sorted(weight[stayed].tolist()) == [-2.0, 0.3, 0.4]
    assert int(keep.sum()) == 6
    assert int((weight == 7).sum()) == 3


def test_grown_places_are_random_among_all_that_are_free(toy):
    seen = torch.zeros(1, 8)
    for seed in range(100):
        loop = toy({"a": [[1.0, 2, 3, 4, 0, 0, 0, 0]]}, {"a": [[1, 1, 1, 1, 0, 0, 0, 0]]}, step=10)
        rewired(loop, seed=seed)
        assert loop.weights["a.weight"].tolist()[0][2:4] == [3, 4]
        seen += loop.keep["a.weight"]
    assert seen.tolist()[0][2:4] == [100, 100]
    # 2 of 6 places each time: 33 of 100, with a standard deviation of 5.
    assert all(15 < count < 55 for index, count in enumerate(seen[0]) if index not in (2, 3))


@pytest.mark.parametrize("step", [5, 95, 100])
def test_rewires_after_every_epoch_but_the_last(toy, step):
    loop = toy({"a": torch.ones(3, 3)}, {"a": torch.eye(3)}, step=step)  # 10 epochs of 10 steps
    rewired(loop)
    assert torch.equal(loop.keep["a.weight"], torch.eye(3).double())


def test_grown_weights_have_values_of_the_layers_initialisation(mlp, watched, optimizer):
    initial = {name: set(w.flatten().tolist()) for name, w in prunable(mlp).items()}
    _, moments = watched(mlp, METHOD, optimizer, zeta=0.3)
    shapes = {name: keep.shape for name, keep in moments[0].keep.items()}
    assert moments[0].counts == list(er(shapes, sum(moments[0].counts)).values())
    updates = []
    for step, (before, after) in enumerate(pairwise(moments), start=1):
        for name, keep in after.keep.items():
            grown = keep & ~before.keep[name]
            if grown.any():
                updates.append(step)
                assert set(after.state[name][grown].tolist()) <= initial[name]
                assert len(after.state[name][grown].unique()) > 1 or int(grown.sum()) < 3
    assert set(updates) == {4, 8, 12, 16}
