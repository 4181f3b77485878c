"""GraNet."""

from itertools import pairwise

import pytest
import torch

from autos.masks.allocation import erk
from autos.methods.granet import METHOD, GraNet, Settings


def test_an_update_by_hand(toy):
    weights = [[4.0, -1.0, 3.0, 2.0, 0.5, 0.0, 0.0, 0.0]]
    loop = toy({"a": weights}, {"a": [[1, 1, 1, 1, 1, 0, 0, 0]]}, step=10)
    weight = loop.weights["a.weight"]
    weight.grad.copy_(torch.tensor([[9.0, 3.0, 8.0, 0.1, 7.0, -5.0, 2.0, 0.0]]))
    granet = GraNet(Settings(begin=0.9, alpha=1, interval=10, end=0.2), density=0.4)
    granet.on_start(loop)
    granet.before_step(loop)
    # Halfway, 0.4 + 0.5 / 8 of 8 weights are 4: 0.5 goes. Then half of 4 are dropped, -1 and 2, and
    # the largest gradients outside 4 and 3 grow: 7, whose weight has just gone, and -5.
    assert loop.keep["a.weight"].tolist() == [[1, 0, 1, 0, 1, 1, 0, 0]]
    assert weight.tolist() == [[4, 0, 3, 0, 0, 0, 0, 0]]
    assert all(parameter.grad is None for parameter in loop.model.parameters())


@pytest.mark.parametrize("density", [0.3, 0.5, 0.8])
def test_the_density_falls_along_a_cubic_from_a_half(conv_net, watched, optimizer, density):
    found, moments = watched(conv_net, METHOD, optimizer, density=density, interval=4)
    total = sum(keep.numel() for keep in moments[0].keep.values())
    begin = max(0.5, density)
    shapes = {name: keep.shape for name, keep in moments[0].keep.items()}
    assert moments[0].counts == list(erk(shapes, round(begin * total)).values())
    counts = [sum(moment.counts) for moment in moments]
    expected = counts[:1] * 5  # of 20 steps, updates are due before the fifth, ninth, ... one
    for step in (4, 8, 12):
        left = (1 - step / 15) ** 3
        expected += [round((density + (begin - density) * left) * total)] * 4
    expected = expected[:15] + [round(density * total)] * 6
    assert counts == expected and found.mask.kept == counts[-1]


def test_grown_weights_begin_at_zero_and_the_rest_is_as_it_was(conv_net, watched, optimizer):
    _, moments = watched(conv_net, METHOD, optimizer, density=0.3, interval=4)
    grew = []
    for step, (before, after) in enumerate(pairwise(moments), start=1):
        for name, keep in after.keep.items():
            grown = keep & ~before.keep[name]
            if grown.any():
                grew.append(step)
                assert not after.state[name][grown].any()
                stayed = before.keep[name] & keep & (after.state[name] != 0)
                assert after.state[name][stayed].equal(before.state[name][stayed])
    assert grew and set(grew) <= {5, 9, 13}
