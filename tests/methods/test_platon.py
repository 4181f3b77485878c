"""PLATON's importance, its uncertainty, and pruned weights that come back."""

import pytest
import torch
from torch import nn

from autos.methods.base import Context
from autos.methods.platon import Platon, Settings
from autos.training.callbacks import Loop

B1, B2 = 0.85, 0.95


@pytest.fixture
def platon():
    """Makes the callback, begun, and the loop of a linear layer of float64."""

    class Steps:
        steps, steps_per_epoch = 100, 50

    def make(weight, density=0.5, **settings):
        layer = nn.Linear(len(weight[0]), len(weight), bias=False, dtype=torch.float64)
        layer.weight.data.copy_(torch.tensor(weight))
        settings = Settings(**{"period": 1, "begin": 0, "end": 1} | settings)
        context = Context([], density, torch.Generator(), settings=settings)
        callback = Platon(layer, context, Steps)
        weights = {"weight": layer.weight}
        keep = {"weight": torch.ones_like(layer.weight)}
        loop = Loop(layer, torch.optim.SGD(layer.parameters()), weights, keep, 0, 100, 50)
        callback.on_start(loop)
        return callback, loop

    return make


def step(callback, loop, gradient):
    loop.weights["weight"].grad = torch.tensor(gradient, dtype=torch.float64)
    callback.before_step(loop)
    loop.step += 1
    callback.after_step(loop)


def test_constant_importance_gives_the_closed_form(platon):
    callback, loop = platon([[2.0, -1.0], [0.5, 3.0]], density=0.999)
    gradient = [[1.0, 1.0], [-4.0, 0.5]]
    importance = torch.tensor([[2.0, 1.0], [2.0, 1.5]]).double()  # |w * g|
    for t in range(1, 30):
        step(callback, loop, gradient)
        mean = (1 - B1**t) * importance
        uncertainty = (1 - B2) * sum(B2 ** (t - k) * B1**k for k in range(1, t + 1)) * importance
        torch.testing.assert_close(callback.importance["weight"], mean, rtol=1e-12, atol=0)
        torch.testing.assert_close(callback.uncertainty["weight"], uncertainty, rtol=1e-12, atol=0)


def test_importance_is_averaged_over_the_steps_up_to_a_cut(platon):
    callback, loop = platon([[1.0, -2.0]], period=3, end=0.08)  # cuts at 2, 5 and 8
    assert sorted(callback.cuts) == [5, 8]
    sizes = iter(range(1, 9))
    means = []
    for _ in range(8):
        size = next(sizes)
        step(callback, loop, [[size, -size]])
        means.append(callback.importance["weight"].tolist()[0][0])
    # |w g| of the first weight is 1 to 8; windows are 1 2, 3 4 5 and 6 7 8.
    one = (1 - B1) * 1.5
    two = B1 * one + (1 - B1) * 4
    three = B1 * two + (1 - B1) * 7
    assert means == pytest.approx([0, one, one, one, two, two, two, three], rel=1e-12)


def test_keeps_what_is_both_important_and_uncertain(platon):
    callback, loop = platon([[1.0, 1.0, 1.0, 1.0]], density=0.25, end=0.02, period=2)
    callback.importance["weight"] = torch.tensor([[4.0, 2.0, 3.0, 1.0]]).double()
    callback.uncertainty["weight"] = torch.tensor([[1.0, 4.0, 3.0, 8.0]]).double()
    mask = callback.cut(loop.weights, 0.25)
    assert mask.keep["weight"].tolist() == [[False, False, True, False]]  # 9 > 8 > 4


def test_a_pruned_weight_can_come_back_before_the_last_cut_and_not_after(platon):
    callback, loop = platon([[1.03, 1.02, 1.01, 1.0]], density=0.25, begin=0.3, end=0.5)
    weight, keep, masks = loop.weights["weight"], loop.keep["weight"], {}
    for _ in range(60):
        # Constant importance is certain; that it falls to 0 with the weight is a surprise.
        step(callback, loop, [[1.0 if loop.step < 50 else 1e6] * 4])
        weight.data *= keep
        masks[loop.step] = keep.tolist()[0]
    assert [masks[t] for t in (31, 32, 33)] == [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 1]]
    assert sum(masks[50]) == 1
    assert all(masks[t] == masks[50] for t in range(50, 61))
    assert callback.mask.keep["weight"].tolist() == keep.bool().tolist()


def test_a_layer_that_the_loss_does_not_reach_has_no_importance(platon):
    callback, loop = platon([[1.0, 2.0]])
    callback.before_step(loop)
    assert not callback.importance["weight"].any()
