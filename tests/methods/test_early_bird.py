"""Early-Bird: which scales belong to which weights, masks from them, and when training ends."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from autos.errors import UserError
from autos.methods.base import Context
from autos.methods.early_bird import (
    METHOD,
    EarlyBird,
    Settings,
    channels,
    distance,
    mask_of,
    norms_behind,
)
from autos.network.prunable import prunable
from autos.pruning import find
from autos.training.recipe import TrainConfig
from models import ARCHITECTURES

NORMS = {"conv1.weight": "bn1.weight", "conv2.weight": "bn2.weight"}


def recipe(epochs=8, **changes):
    return TrainConfig(
        epochs=epochs, batch_size=20, optimizer="sgd", schedule="cosine", **{"lr": 0.1} | changes
    )


def bits(text):
    return torch.tensor([bit == "1" for bit in text])


@pytest.fixture
def epoch(images):
    pixels = images.normalize(images.train.images)
    return list(zip(pixels.split(20), images.train.labels.split(20), strict=True))


@pytest.fixture
def early_bird():
    def make(**settings):
        context = Context([], 0.5, torch.Generator(), settings=Settings(**settings))
        return EarlyBird(NORMS, context)

    return make


# --- the distance ---


def test_distance_is_the_share_of_channels_that_differ():
    assert distance(bits("1100"), bits("1100")) == 0
    assert distance(bits("1100"), bits("1010")) == 0.5
    assert distance(bits("1100"), bits("0011")) == 1
    assert distance(bits("1111100000"), bits("1111000000")) == 0.1


def test_five_masks_that_agree_fire_and_four_do_not(early_bird):
    callback = early_bird()
    assert [callback.agree(bits("1100")) for _ in range(6)] == [False] * 4 + [True] * 2


def test_the_newest_mask_has_to_be_close_to_each_of_the_last_four(early_bird):
    callback = early_bird()
    drawn = ["1111100000"] * 4 + ["0000011111"] + ["1111100000"] * 5
    assert [callback.agree(bits(mask)) for mask in drawn] == [False] * 9 + [True]


def test_masks_agree_up_to_epsilon(early_bird):
    drawn = ["1111100000", "1111010000", "1111100000", "1111100000", "1111100000"]
    for epsilon, fires in ((0.1, False), (0.2, True)):  # 2 of 10 differ
        callback = early_bird(epsilon=epsilon)
        assert [callback.agree(bits(mask)) for mask in drawn][-1] is fires
    drifting = [f"{'0' * n}1{'0' * (19 - n)}" for n in range(5)]  # always 2 of 20: exactly 0.1
    callback = early_bird()
    assert [callback.agree(bits(mask)) for mask in drifting][-1] is True


# --- scales and masks ---


def test_finds_the_batch_norm_behind_every_layer(conv_net, epoch):
    context = Context(epoch, 0.5, torch.Generator())
    state = {name: value.clone() for name, value in conv_net.state_dict().items()}
    assert norms_behind(conv_net, context) == NORMS
    assert all(torch.equal(conv_net.state_dict()[name], value) for name, value in state.items())


def test_in_a_resnet_all_but_the_last_layer_have_one(epoch):
    build = ARCHITECTURES["resnet_20"]
    model = build(num_classes=3, in_channels=1, image_size=8, width=0.25)
    norms = norms_behind(model, Context(epoch, 0.5, torch.Generator()))
    *convolutions, last = prunable(model)
    assert list(norms) == convolutions and last not in norms
    assert len(set(norms.values())) == len(norms)


def test_a_norm_of_other_channels_or_behind_something_else_does_not_count(epoch):
    layers = OrderedDict(
        flatten=nn.Flatten(),
        fc1=nn.Linear(64, 8),
        relu=nn.ReLU(),
        bn1=nn.BatchNorm1d(8),
        rows=nn.Unflatten(1, (4, 2)),
        fc2=nn.Linear(2, 6),
        bn2=nn.BatchNorm1d(4),  # over rows, not over the outputs of fc2
        fc3=nn.Linear(6, 6),
        bn3=nn.BatchNorm1d(4, affine=False),
        join=nn.Flatten(),
        fc4=nn.Linear(24, 5),
        bn4=nn.BatchNorm1d(5),
    )
    context = Context(epoch, 0.5, torch.Generator())
    assert norms_behind(nn.Sequential(layers), context) == {"fc4.weight": "bn4.weight"}


def test_keeps_the_channels_with_the_largest_scales_and_all_that_have_none(conv_net):
    with torch.no_grad():  # 4 channels of 9 weights each, 8 of 9, and 24 weights without scale
        conv_net.bn1.weight.copy_(torch.tensor([0.9, -0.1, 0.3, -0.8]))
        conv_net.bn2.weight.copy_(torch.tensor([0.7, 0.2, -0.6, 0.0, 0.5, 0.4, -1.0, 0.05]))
    mask = mask_of(conv_net, NORMS, (24 + 5 * 9 + 4) / 132)
    # By size: 1.0, 0.9, 0.8, 0.7, 0.6, and four weights of 0.5.
    assert mask.keep["conv1.weight"].flatten(1).sum(1).tolist() == [9, 0, 0, 9]
    assert mask.keep["conv2.weight"].flatten(1).sum(1).tolist() == [9, 0, 9, 0, 4, 0, 9, 0]
    assert bool(mask.keep["fc.weight"].all())
    assert torch.equal(channels(conv_net, mask, NORMS), bits("1001" + "10101010"))


# --- training ---


def test_training_ends_with_the_epoch_in_which_the_masks_agree(conv_net, epoch):
    options = {"density": 0.5, "recipe": recipe()}
    settled = find(conv_net, METHOD, epoch, settings={"epsilon": 1}, **options)
    assert settled.cost.backward == 5 * 75
    assert settled.start is None and settled.step == 0 and not settled.trained
    never = find(conv_net, METHOD, epoch, settings={"epsilon": 0}, **options)
    assert never.cost.backward == 8 * 75
    short = find(conv_net, METHOD, epoch, density=0.5, recipe=recipe(epochs=2))
    assert short.cost.backward == 2 * 75 and short.mask.kept == 66


def test_without_rewinding_the_state_of_that_epoch_goes_with_the_mask(conv_net, epoch):
    settings = {"epsilon": 1, "rewind": False}
    found = find(conv_net, METHOD, epoch, density=0.5, recipe=recipe(), settings=settings)
    assert found.step == 5 * 4 and not found.trained
    conv_net.load_state_dict(found.start)
    again = mask_of(conv_net, NORMS, 0.5)
    assert all(torch.equal(found.mask.keep[name], keep) for name, keep in again.keep.items())


def test_the_penalty_is_the_l1_norm_of_the_scales(conv_net, epoch):
    settings = {"epsilon": 1, "rewind": False, "l1": 0.0}
    options = {"density": 0.5, "recipe": recipe(epochs=1, lr=1.0)}
    one_batch = epoch[:1]
    plain = find(conv_net, METHOD, one_batch, settings=settings, **options).start
    settings["l1"] = 0.125
    penalised = find(conv_net, METHOD, one_batch, settings=settings, **options).start
    for name, tensor in plain.items():
        moved = 0.125 if name in NORMS.values() else 0  # the scales are 1: their sign is +
        torch.testing.assert_close(penalised[name], tensor - moved)


@pytest.mark.parametrize("network", ["mlp", "without_scales"])
def test_a_network_without_scales_is_refused(network, mlp, conv_net, epoch):
    if network == "without_scales":
        conv_net.bn1 = nn.BatchNorm2d(4, affine=False)
        conv_net.bn2 = nn.GroupNorm(2, 8)
    model = mlp if network == "mlp" else conv_net
    with pytest.raises(UserError, match="early_bird needs BatchNorm with scales right behind"):
        find(model, METHOD, epoch, density=0.5, recipe=recipe())


def test_a_density_that_leaves_nothing_to_channels_is_refused(conv_net, epoch):
    with pytest.raises(UserError, match=r"keeps 24 of 132 weights; early_bird needs more than 24"):
        find(conv_net, METHOD, epoch, density=24 / 132, recipe=recipe())
    found = find(conv_net, METHOD, epoch, density=25 / 132, recipe=recipe(epochs=1))
    assert found.mask.kept == 25
