"""LAMP: magnitudes relative to the larger ones of their layer."""

import copy

import pytest
import torch
from torch import nn

from autos.methods.criteria import CRITERIA
from autos.network.prunable import prunable
from autos.pruning import prune

LAMP = CRITERIA["lamp"]


def scores(model, context):
    return LAMP.score(model, context([]))


def test_a_layer_by_hand(context):
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[1.0, -3.0], [0.0, 2.0]])
    expected = torch.tensor([[1 / 14, 1.0], [0.0, 4 / 13]])
    torch.testing.assert_close(scores(model, context)["weight"].float(), expected)


def test_scores_are_those_of_the_definition(conv_net, context):
    for name, score in scores(conv_net, context).items():
        squares = prunable(conv_net)[name].detach().double().square().flatten()
        larger = (squares[None] * (squares[None] >= squares[:, None])).sum(dim=1)
        torch.testing.assert_close(score.flatten(), squares / larger)


@pytest.mark.parametrize("scale", [1e-30, 100.0, 1e30])
def test_the_scale_of_a_layer_does_not_matter_and_no_layer_is_emptied(conv_net, batches, scale):
    scaled = copy.deepcopy(conv_net)
    with torch.no_grad():
        scaled.conv1.weight.mul_(scale)
    one, two = (prune(model, LAMP, batches, density=3 / 132) for model in (conv_net, scaled))
    assert all(torch.equal(one.keep[name], two.keep[name]) for name in one.keep)
    assert not one.empty_layers()
