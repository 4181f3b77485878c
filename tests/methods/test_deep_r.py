"""Deep rewiring."""

import math
from itertools import pairwise

import pytest
import torch

from autos.methods.deep_r import METHOD, DeepR, Settings
from autos.network.prunable import prunable


def walked(loop, *, steps=1, change=None, seed=0, **settings):
    """After an optimizer's step that did what `change` does."""
    callback = DeepR(Settings(**settings), torch.Generator().manual_seed(seed))
    callback.on_start(loop)
    for _ in range(steps):
        callback.before_step(loop)
        if change:
            change()
        callback.after_step(loop)
    return callback


def test_the_penalty_pulls_active_weights_towards_zero(toy):
    loop = toy({"a": [[1.0, -2.0, 3.0]]}, {"a": [[1, 1, 0]]}, lr=0.2)
    walked(loop, alpha=0.5, temperature=0)
    assert loop.weights["a.weight"].tolist() == [[0.9, -1.9, 0]]


def test_noise_has_the_variance_of_the_temperature_times_twice_the_rate(toy):
    loop = toy({"a": torch.full((100, 100), 50.0)}, lr=0.2)
    walked(loop, alpha=0, temperature=0.9)
    noise = loop.weights["a.weight"].detach() - 50
    assert float(noise.mean()) == pytest.approx(0, abs=0.03)  # the standard error is 0.006
    assert float(noise.std()) == pytest.approx(math.sqrt(2 * 0.2 * 0.9), rel=0.03)


def test_the_rate_is_that_of_the_step_and_not_of_the_next_one(toy):
    loop = toy({"a": [[1.0, 1.0]]}, lr=0.2)
    group = loop.optimizer.param_groups[0]
    walked(loop, alpha=0.5, temperature=0, change=lambda: group.update(lr=0.0))
    assert loop.weights["a.weight"].tolist() == [[0.9, 0.9]]


def test_who_crosses_zero_goes_to_sleep_and_another_wakes_up(toy):
    start = [[1.0, -1.0, 0.3, -0.3, 2.0, -2.0]]
    loop = toy({"a": start}, lr=0.1)
    weight, keep = loop.weights["a.weight"], loop.keep["a.weight"]
    callback = DeepR(Settings(alpha=0, temperature=0), torch.Generator().manual_seed(0))
    callback.on_start(loop)  # while all have their first sign
    keep.copy_(torch.tensor([[1, 1, 1, 1, 0, 0]]))
    callback.before_step(loop)
    with torch.no_grad():
        weight.copy_(torch.tensor([[1.5, 0.5, 0.25, -0.25, 9.0, 9.0]]))  # the second has crossed
    callback.after_step(loop)
    assert int(keep.sum()) == 4
    grown = [i for i in (1, 4, 5) if keep[0, i]]
    assert len(grown) == 1
    assert weight[0, grown[0]].item() == math.copysign(1e-12, start[0][grown[0]])
    kept = (keep * weight)[0].tolist()
    assert [kept[0], *kept[2:4]] == [1.5, 0.25, -0.25]


def test_dormant_connections_are_equally_likely(toy):
    woken = torch.zeros(1, 5)
    for seed in range(200):
        loop = toy({"a": [[1.0, 1, 1, 1, 1]]}, {"a": [[1, 1, 0, 0, 0]]})

        def cross(weight=loop.weights["a.weight"]):
            weight.data[0, 0] = -1

        walked(loop, alpha=0, temperature=0, change=cross, seed=seed)
        woken += loop.keep["a.weight"]
    assert woken[0, 1] == 200
    # A quarter of 200, with a standard deviation of 6.
    assert all(25 < woken[0, i] < 75 for i in (0, 2, 3, 4))


@pytest.mark.parametrize("scope", ["layer", "network"])
def test_counts_hold_after_every_step_and_no_sign_ever_flips(conv_net, watched, optimizer, scope):
    signs = {name: torch.where(w < 0, -1.0, 1.0) for name, w in prunable(conv_net).items()}
    _, moments = watched(conv_net, METHOD, optimizer, scope=scope, temperature=0.1, alpha=0.1)
    if scope == "layer":
        assert all(moment.counts == moments[0].counts for moment in moments)
    else:
        assert {sum(moment.counts) for moment in moments} == {sum(moments[0].counts)}
        assert any(moment.counts != moments[0].counts for moment in moments)
    moves = 0
    for before, after in pairwise(moments):
        for name, keep in after.keep.items():
            moves += int((keep & ~before.keep[name]).sum())
            assert bool((after.state[name] * signs[name])[keep].gt(0).all())
    assert moves > 20
