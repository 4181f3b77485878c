"""Magnitude pruning."""

import copy

import pytest
import torch

from autos.methods.criteria import CRITERIA
from autos.network.prunable import prunable
from autos.pruning import prune

MAGNITUDE = CRITERIA["magnitude"]


def test_keeps_the_largest_weights_of_the_whole_network(conv_net, batches):
    mask = prune(conv_net, MAGNITUDE, batches, density=0.25)
    weights = prunable(conv_net)
    kept = torch.cat([weights[name][keep].abs() for name, keep in mask.keep.items()])
    gone = torch.cat([weights[name][~keep].abs() for name, keep in mask.keep.items()])
    assert kept.min() > gone.max()


def test_signs_do_not_matter(conv_net, batches):
    flipped = copy.deepcopy(conv_net)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in prunable(flipped).values():
            weight *= torch.randint(0, 2, weight.shape, generator=generator) * 2 - 1
    one, two = (prune(model, MAGNITUDE, batches, density=0.4) for model in (conv_net, flipped))
    assert not torch.equal(flipped.conv1.weight, conv_net.conv1.weight)
    assert all(torch.equal(one.keep[name], two.keep[name]) for name in one.keep)


@pytest.mark.parametrize("layer", ["conv1.weight", "conv2.weight", "fc.weight"])
def test_scaling_a_layer_up_never_lowers_its_density(conv_net, batches, layer):
    densities = []
    for scale in (1, 1.1, 1.5, 2, 10):
        model = copy.deepcopy(conv_net)
        with torch.no_grad():
            prunable(model)[layer].mul_(scale)
        mask = prune(model, MAGNITUDE, batches, density=0.15)
        densities.append(mask.layer_densities()[layer])
    assert densities == sorted(densities) and densities[-1] > densities[0]
