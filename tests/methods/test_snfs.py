"""SNFS, sparse momentum."""

import pytest
import torch

from autos.methods.snfs import METHOD, SNFS, Settings, drop_fraction


def rewired(loop, momentum, **settings):
    callback = SNFS(Settings(**settings))
    callback.on_start(loop)
    for name, value in momentum.items():
        callback.momentum[f"{name}.weight"].copy_(torch.tensor(value))
    callback.after_step(loop)


def kept(loop):
    return {name: keep.tolist() for name, keep in loop.keep.items()}


def test_the_dropped_share_falls_along_a_cosine():
    settings = Settings()
    assert drop_fraction(0, settings) == 0.5
    assert drop_fraction(0.5, settings) == pytest.approx((0.5 + 0.005) / 2)
    assert drop_fraction(1, settings) == pytest.approx(0.005)


def test_momentum_is_the_mean_of_all_gradients_those_of_pruned_weights_too(toy):
    loop = toy({"a": torch.randn(3, 4)}, {"a": torch.rand(3, 4) < 0.5})
    callback = SNFS(Settings(momentum=0.7))
    callback.on_start(loop)
    expected = torch.zeros(3, 4, dtype=torch.float64)
    for _ in range(5):
        gradient = torch.randn(3, 4).double()
        expected = 0.7 * expected + 0.3 * gradient
        loop.weights["a.weight"].grad.copy_(gradient)
        callback.before_step(loop)
    torch.testing.assert_close(callback.momentum["a.weight"], expected, rtol=1e-14, atol=0)


def test_shares_the_free_places_by_the_mean_momentum_of_what_is_left(toy):
    keep = {"a": [[1, 1, 1, 1, 0, 0, 0, 0]], "b": [[1, 1, 0, 0, 0, 0]]}
    loop = toy({"a": [[1.0, -2, 3, -4, 0, 0, 0, 0]], "b": [[1.0, -2, 0, 0, 0, 0]]}, keep, step=10)
    momentum = {  # the means over 3 and -4, and over -2, are 1 and 2: 3 places become 1 and 2
        "a": [[9.0, 0.0, 1.5, -0.5, 0.1, -0.7, 0.2, 0.6]],
        "b": [[0.1, 2.0, 0.3, -0.8, 0.4, 0.2]],
    }
    rewired(loop, momentum, drop=0.5, last_drop=0.5)
    # The first of a was just dropped and has the largest momentum of all: it comes back.
    assert kept(loop) == {
        "a.weight": [[1, 0, 1, 1, 0, 0, 0, 0]],
        "b.weight": [[0, 1, 0, 1, 1, 0]],
    }
    assert loop.weights["a.weight"].tolist() == [[0, 0, 3, -4, 0, 0, 0, 0]]


def test_a_layer_without_momentum_gets_nothing(toy):
    keep = {"a": [[1, 1, 0, 0, 0, 0]], "b": [[1, 1, 0, 0, 0, 0]]}
    loop = toy({"a": [[1.0, 2, 0, 0, 0, 0]], "b": [[1.0, 2, 0, 0, 0, 0]]}, keep, step=10)
    still, moving = [[0.0] * 6], [[1.0, 1, 1, 2, 3, 0]]
    rewired(loop, {"a": still, "b": moving}, drop=0.5, last_drop=0.5)
    assert kept(loop) == {"a.weight": [[0, 1, 0, 0, 0, 0]], "b.weight": [[0, 1, 0, 1, 1, 0]]}


def test_what_a_full_layer_cannot_take_goes_to_the_others(toy):
    keep = {"a": [[1, 1, 0]], "b": [[1, 1, 1, 1, 1, 1, 0, 0]]}
    loop = toy({"a": [[1.0, 2, 0]], "b": [[6.0, 5, 4, 3, 2, 1, 0, 0]]}, keep, step=10)
    momentum = {"a": [[9.0] * 3], "b": [[0.1] * 8]}  # 4 places; a has room for 2
    rewired(loop, momentum, drop=0.5, last_drop=0.5)
    assert [sum(k[0]) for k in kept(loop).values()] == [3, 5]


@pytest.mark.parametrize("step", [5, 95, 100])
def test_rewires_after_every_epoch_but_the_last(toy, step):
    loop = toy({"a": torch.ones(3, 3)}, {"a": torch.eye(3)}, step=step)
    rewired(loop, {"a": torch.rand(3, 3).tolist()}, last_drop=0.5)
    assert torch.equal(loop.keep["a.weight"], torch.eye(3).double())


def test_weights_move_between_layers_but_none_is_lost(conv_net, watched, optimizer):
    _, moments = watched(conv_net, METHOD, optimizer)
    first = [round(0.3 * keep.numel()) for keep in moments[0].keep.values()]
    assert moments[0].counts == pytest.approx(first, abs=1)  # the same density everywhere
    changes = [i for i in range(1, 21) if moments[i].counts != moments[i - 1].counts]
    assert changes
    assert set(changes) <= {4, 8, 12, 16}
