"""Operations of a forward pass."""

import pytest
import torch
from torch import nn

from autos.masks.flops import forward_flops
from autos.masks.mask import Mask
from models import ARCHITECTURES


def test_lenet_300_100_needs_two_operations_per_weight():
    model = ARCHITECTURES["lenet_300_100"](num_classes=10, in_channels=1, image_size=28)
    image = torch.zeros(1, 1, 28, 28)
    assert forward_flops(model, image, Mask.dense(model)) == (2 * 266_200, 2 * 266_200)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_convolution_uses_each_weight_at_every_position(groups):
    model = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=groups))
    image = torch.zeros(1, 4, 9, 9)  # 5x5 positions
    expected = 2 * 8 * (4 // groups) * 9 * 25
    assert forward_flops(model, image, Mask.dense(model))[1] == expected


def test_the_sparse_count_weighs_every_layer_by_its_density(conv_net, cut):
    mask = cut(Mask.dense(conv_net), "conv1.weight", slice(1, None))
    mask = cut(mask, "conv2.weight", slice(4))
    mask = cut(mask, "fc.weight", slice(None))
    conv1, conv2, fc = 2 * 36 * 64, 2 * 72 * 9, 2 * 24
    sparse, dense = forward_flops(conv_net, torch.zeros(1, 1, 8, 8), mask)
    assert dense == conv1 + conv2 + fc
    assert sparse == conv1 / 4 + conv2 / 2


def test_a_single_layer_is_a_network_too():
    model = nn.Linear(5, 3)
    assert forward_flops(model, torch.zeros(1, 5), Mask.dense(model)) == (30, 30)


@pytest.mark.parametrize("training", [True, False])
def test_counting_leaves_the_model_as_it_was(conv_net, training):
    conv_net.train(training)
    before = {name: tensor.clone() for name, tensor in conv_net.state_dict().items()}
    forward_flops(conv_net, torch.ones(1, 1, 8, 8), Mask.dense(conv_net))
    assert conv_net.training == training
    for name, tensor in conv_net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
