"""DNS, dynamic network surgery."""

import copy
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from autos.methods.dns import DNS, METHOD, Settings
from autos.network.prunable import prunable


def surgery(loop, count, **settings):
    total = sum(weight.numel() for weight in loop.weights.values())
    generator = torch.Generator().manual_seed(0)
    callback = DNS(Settings(gamma=0, **settings), count / total, generator)
    callback.on_start(loop)
    return callback


def step(callback, loop, name, values):
    """An optimizer's step to the given dense values."""
    callback.before_step(loop)
    loop.weights[name].data.copy_(torch.tensor(values))
    loop.step += 1
    callback.after_step(loop)
    loop.weights[name].data.mul_(loop.keep[name])


def test_between_the_bands_nothing_changes_and_what_was_pruned_can_return(toy):
    # All but the last three are far above and below.
    many = [4.0, -4.0] * 6 + [0.1, -0.1] * 6
    loop = toy({"a": [[*many, 1.0, 1.05, 0.95]]})
    name = "a.weight"
    callback = surgery(loop, 13)

    def renewed(*last):
        step(callback, loop, name, [[*many, *last]])
        return loop.keep[name][0, -3:].tolist()

    assert bool((loop.keep[name][0, :12] == 1).all())
    assert bool((loop.keep[name][0, 12:24] == 0).all())
    # 13 are to be above t. Of the last three that is one, so that t is the second of them.
    assert loop.keep[name][0, -3:].tolist() == [1, 1, 1]
    assert renewed(1.0, 2.0, 0.8) == [1, 1, 0]
    assert renewed(1.0, 1.0, 1.05) == [1, 1, 0]
    assert renewed(0.8, 1.0, 1.09) == [0, 1, 0]
    assert renewed(1.0, 1.0, 1.2) == [0, 1, 1]
    assert renewed(1.3, 1.0, 0.5) == [1, 1, 0]


def test_thresholds_are_mean_plus_c_deviations_of_the_first_weights_of_each_layer(toy):
    generator = torch.Generator().manual_seed(3)
    first = {
        "a": torch.randn(5, 6, generator=generator).double(),
        "b": torch.randn(4, 4, generator=generator).double() * 30,
    }
    loop = toy(first)
    callback = surgery(loop, 11, band=1e-9)
    deviations, later = [], {}
    for name, value in first.items():
        size = value.abs()
        later[name] = torch.randn(value.shape, generator=generator).double() * size.mean() * 2
        deviations += ((later[name].abs() - size.mean()) / size.std(correction=0)).flatten()
    c = sum(sorted(deviations)[-12:-10]) / 2  # 11 are above it
    callback.before_step(loop)
    for name, value in later.items():
        loop.weights[f"{name}.weight"].data.copy_(value)
    loop.step += 1
    callback.after_step(loop)
    for name, value in first.items():
        size = value.abs()
        threshold = size.mean() + c * size.std(correction=0)
        above = later[name].abs() > threshold
        assert bool((loop.keep[f"{name}.weight"][above] == 1).all())
    # The largest of the others is t itself, within any band, and stays what it was.
    assert sum(int(keep.sum()) for keep in loop.keep.values()) in (11, 12)


def test_the_deviation_is_that_of_all_weights_and_not_of_a_sample(toy):
    loop = toy({"a": [[10.0, -20.0, 30.0, 40.0]], "b": [[1.0, 3.0]]})
    callback = surgery(loop, 1, band=1e-9)
    callback.before_step(loop)
    # 25 + 2.5 * sqrt(125), and 2 + 3 * 1. For samples it would be 2.2 and 2.1 deviations.
    loop.weights["a.weight"].data.copy_(torch.tensor([[0, 0, 0, 52.95]]))
    loop.weights["b.weight"].data.copy_(torch.tensor([[5.0, 0]]))
    loop.step = callback.stop
    callback.after_step(loop)
    assert loop.keep["a.weight"].tolist() == [[0, 0, 0, 0]]
    assert loop.keep["b.weight"].tolist() == [[1, 0]]


def test_a_mask_is_renewed_less_and_less_often(toy):
    def renewals(**settings):
        weights = torch.linspace(0.1, 5, 50).view(1, 50)
        loop = toy({"a": weights}, steps=1000)
        generator = torch.Generator().manual_seed(0)
        callback = DNS(Settings(end=1, band=0, **settings), 0.5, generator)
        callback.on_start(loop)
        found = []
        for _ in range(900):
            before = loop.keep["a.weight"].clone()
            weights = weights.flip(1)
            step(callback, loop, "a.weight", weights.tolist())
            if not torch.equal(before, loop.keep["a.weight"]):
                found.append(loop.step)
        return len(found)

    assert renewals(gamma=0) == 900
    often = renewals(gamma=1e-2, power=1)
    # Of 900: the sum of 1 / (1 + t / 100), 230. An odd number of flips since the last renewal
    # shows, hence about half.
    assert 70 < often < 180
    assert renewals(gamma=1e-2, power=3) < often / 2


def test_training_is_that_of_dense_weights_through_a_straight_through_mask(mlp, watched, epoch):
    """Against plain torch: forward with masked weights, the gradient goes to the dense ones."""
    recipe = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
    dense = copy.deepcopy(mlp)
    _, moments = watched(mlp, METHOD, recipe, end=1)
    weights = prunable(dense)
    optimizer = torch.optim.SGD(dense.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
    for number in range(19):
        pixels, labels = epoch[number % 4]
        masked = {
            name: w + (w * moments[number].keep[name] - w).detach() for name, w in weights.items()
        }
        loss = F.cross_entropy(torch.func.functional_call(dense, masked, pixels), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        for name, value in dense.state_dict().items():
            # The loop sets pruned weights to 0 after the moment was taken.
            torch.testing.assert_close(moments[number + 1].state[name], value)


@pytest.mark.parametrize("end", [0.5, 1])
def test_the_last_masks_have_exactly_the_density(conv_net, watched, optimizer, end):
    found, moments = watched(conv_net, METHOD, {**optimizer, "lr": 0.2}, end=end)
    stop = round(20 * end)
    want = round(0.3 * found.mask.total)
    counts = [sum(moment.counts) for moment in moments]
    assert counts[stop:] == [want] * (21 - stop)
    assert counts[:stop] != [want] * stop  # the band keeps a few more or less
    assert all(abs(count - want) < 0.25 * found.mask.total for count in counts)
    returned = sum(
        int((after.keep[n] & ~before.keep[n]).sum())
        for before, after in pairwise(moments)
        for n in after.keep
    )
    assert returned
    for moment in moments[stop:]:
        assert all(torch.equal(moment.keep[n], k) for n, k in found.mask.keep.items())
