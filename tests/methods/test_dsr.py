"""DSR, dynamic sparse reparameterization."""

from itertools import pairwise

import pytest
import torch

from autos.methods.dsr import DSR, METHOD, Settings


def rewired(loop, seed=0, **settings):
    callback = DSR(Settings(interval=10, **settings), torch.Generator().manual_seed(seed))
    callback.after_step(loop)
    return callback


def ten(below):
    """Weights [1, 20], ten of them kept and `below` of those under 0.1."""
    return [[0.05] * below + [1.0] * (10 - below) + [0.0] * 10]


HALF = {"a": [[1] * 10 + [0] * 10]}


@pytest.mark.parametrize(
    ("below", "threshold"),
    [(0, 0.2), (4, 0.2), (5, 0.1), (6, 0.05), (10, 0.05)],  # the target is 5 of 10
)
def test_the_threshold_doubles_below_the_band_and_halves_above(toy, below, threshold):
    loop = toy({"a": ten(below)}, HALF, step=10)
    assert rewired(loop, threshold=0.1, drop=0.5).threshold == threshold
    assert int(loop.keep["a.weight"].sum()) == 10


@pytest.mark.parametrize(("below", "threshold"), [(89, 0.2), (90, 0.1), (110, 0.1), (111, 0.05)])
def test_the_band_is_ten_per_cent_of_the_target(toy, below, threshold):
    weights = [[0.05] * below + [1.0] * (200 - below) + [0.0] * 200]
    loop = toy({"a": weights}, {"a": [[1] * 200 + [0] * 200]}, step=10)
    assert rewired(loop, threshold=0.1, drop=0.5).threshold == threshold


def test_one_threshold_for_all_layers_and_growth_in_proportion_to_what_survives(toy):
    weights = {"a": ten(8), "b": ten(4)}  # 2 and 6 survive: 12 places become 3 and 9
    loop = toy(weights, {"a": HALF["a"], "b": HALF["a"]}, step=10)
    rewired(loop, threshold=0.1)
    assert [int(keep.sum()) for keep in loop.keep.values()] == [2 + 3, 6 + 9]
    for weight in loop.weights.values():
        assert sorted(set(weight.flatten().tolist())) == [0, 1]  # grown weights are 0
    for name, survivors in {"a.weight": slice(8, 10), "b.weight": slice(4, 10)}.items():
        assert bool((loop.keep[name][0, survivors] == 1).all())


def test_places_are_random(toy):
    def kept(seed):
        loop = toy({"a": ten(5)}, HALF, step=10)
        rewired(loop, seed, threshold=0.1)
        return loop.keep["a.weight"]

    assert torch.equal(kept(0), kept(0))
    assert not torch.equal(kept(0), kept(1))


def test_a_layer_keeps_its_largest_weight(toy):
    loop = toy({"a": [[0.01, -0.03, 0.02, 0, 0, 0]]}, {"a": [[1, 1, 1, 0, 0, 0]]}, step=10)
    rewired(loop, threshold=0.1)
    assert loop.weights["a.weight"].tolist() == [[0, -0.03, 0, 0, 0, 0]]
    assert loop.keep["a.weight"][0, 1] == 1
    assert int(loop.keep["a.weight"].sum()) == 3


@pytest.mark.parametrize("step", [0, 5, 90, 100])
def test_between_updates_and_after_the_end_nothing_happens(toy, step):
    loop = toy({"a": ten(5)}, HALF, step=step)
    assert rewired(loop, threshold=0.1, end=0.9).threshold == 0.1
    assert loop.keep["a.weight"].tolist() == HALF["a"]


def test_the_threshold_finds_its_target_in_training(mlp, watched, optimizer):
    _, moments = watched(mlp, METHOD, optimizer, interval=1, end=1, drop=0.1, threshold=1e-4)
    assert moments[0].counts == [230, 11]  # 0.3 of 768 and 36: the same density everywhere
    pairs = list(pairwise(moments))
    grown = [sum(int((b.keep[n] & ~a.keep[n]).sum()) for n in b.keep) for a, b in pairs]
    assert grown[0] < 3  # at the first threshold
    assert max(grown) > 10  # of 24
