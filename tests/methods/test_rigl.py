"""RigL."""

import math
from itertools import pairwise

import pytest
import torch

from autos.masks.allocation import erk
from autos.methods.rigl import METHOD, RigL, Settings, drop_fraction


def test_the_dropped_fraction_falls_from_alpha_to_zero_along_a_cosine():
    assert drop_fraction(0, 90, 0.3) == 0.3
    assert drop_fraction(30, 90, 0.3) == pytest.approx(0.3 * 0.75)  # cos 60 deg = 1 / 2
    assert drop_fraction(45, 90, 0.3) == pytest.approx(0.15)
    assert drop_fraction(90, 90, 0.3) == pytest.approx(0, abs=1e-15)


def test_an_update_by_hand(toy):
    keep = [[1, 1, 1, 1, 0, 0, 0, 0]]
    loop = toy({"a": [[4.0, -1.0, 3.0, 2.0, 0.0, 0.0, 0.0, 0.0]]}, {"a": keep}, step=10)
    weight = loop.weights["a.weight"]
    # Half of 4 go: -1 and 2. The largest gradients outside 4 and 3: -5, and 3 which was just
    # dropped; not 9 and 8, whose weights stay.
    weight.grad.copy_(torch.tensor([[9.0, 3.0, 8.0, 0.1, 1.0, -5.0, 2.0, 0.0]]))
    settings = Settings(alpha=1, interval=10, end=0.2)  # f(10) of 20 steps is 1 / 2
    RigL(settings).before_step(loop)
    assert loop.keep["a.weight"].tolist() == [[1, 1, 1, 0, 0, 1, 0, 0]]
    assert weight.tolist() == [[4, 0, 3, 0, 0, 0, 0, 0]]
    memory = loop.optimizer.state[weight]["momentum_buffer"]
    assert (memory == 0).tolist() == [[False, True, False, True, False, True, False, False]]
    assert all(parameter.grad is None for parameter in loop.model.parameters())


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_grows_the_largest_gradients_off_the_support_in_every_layer(toy, kind):
    generator = torch.Generator().manual_seed(4)
    shapes = {"a": (6, 7), "b": (5, 3), "c": (2, 2)}
    weights = {n: torch.randn(s, generator=generator).double() for n, s in shapes.items()}
    keep = {n: torch.rand(s, generator=generator) < 0.5 for n, s in shapes.items()}
    loop = toy(weights, keep, optimizer=kind, step=20)
    before = {n: k.bool() for n, k in loop.keep.items()}
    sizes = {n: w.detach().abs().flatten().tolist() for n, w in loop.weights.items()}
    gradients = {n: w.grad.abs().flatten().tolist() for n, w in loop.weights.items()}
    RigL(Settings(alpha=0.4, interval=10, end=0.8)).before_step(loop)
    fraction = 0.2 * (1 + math.cos(math.pi * 20 / 80))
    for name, old in before.items():
        active = old.flatten().nonzero().flatten().tolist()
        count = round(fraction * len(active))
        left = set(sorted(active, key=lambda i: sizes[name][i])[count:])
        outside = sorted(set(range(old.numel())) - left, key=lambda i: -gradients[name][i])
        expected = left | set(outside[:count])
        assert set(loop.keep[name].flatten().nonzero().flatten().tolist()) == expected


@pytest.mark.parametrize("step", [0, 5, 80, 90])
def test_between_updates_and_after_the_end_nothing_happens(toy, step):
    loop = toy({"a": torch.randn(3, 3)}, {"a": torch.eye(3)}, step=step)
    RigL(Settings(interval=10, end=0.8)).before_step(loop)
    assert torch.equal(loop.keep["a.weight"], torch.eye(3).double())
    assert all(parameter.grad is not None for parameter in loop.model.parameters())


def test_an_update_takes_the_place_of_the_optimizers_step(conv_net, watched, optimizer):
    _, moments = watched(conv_net, METHOD, optimizer, interval=4, end=0.75)
    assert moments[0].counts == list(
        erk({n: k.shape for n, k in moments[0].keep.items()}, sum(moments[0].counts)).values()
    )
    moved = []
    for step, (before, after) in enumerate(pairwise(moments), start=1):
        moved += [step] * any(bool((after.keep[n] != before.keep[n]).any()) for n in after.keep)
        parameters = [n for n, _ in conv_net.named_parameters() if n not in after.keep]
        same = [torch.equal(before.state[name], after.state[name]) for name in parameters]
        # The batch after every fourth step, before step 15.
        assert same == [step in (5, 9, 13)] * len(parameters)
        if step in (5, 9, 13):
            for name, keep in after.keep.items():
                weight = after.state[name]
                stayed = before.keep[name] & keep & (weight != 0)
                assert torch.equal(weight[stayed], before.state[name][stayed])
                assert bool((weight[~before.keep[name]] == 0).all())
    assert moved
    assert set(moved) <= {5, 9, 13}
