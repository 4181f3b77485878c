"""Skeletonization: the first-order change of the loss, with its sign."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from autos.methods.criteria import CRITERIA
from autos.network.initialize import initialize
from autos.network.prunable import prunable

skeletonization = CRITERIA["skeletonization"].score


def test_is_the_slope_of_the_loss_as_a_weight_shrinks(context, draws):
    layers = nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 3)
    model = initialize(nn.Sequential(*layers), seed=0).double()
    ((inputs, labels),) = batches = draws(9)
    score = skeletonization(model, context(batches))
    step = 1e-5

    @torch.no_grad()
    def loss(name, index, shrunk):
        other = copy.deepcopy(model)
        prunable(other)[name].view(-1)[index] *= 1 - shrunk
        return F.cross_entropy(other(inputs), labels)

    for name, weight in prunable(model).items():
        slopes = [
            (loss(name, i, step) - loss(name, i, -step)) / (2 * step) for i in range(weight.numel())
        ]
        slope = torch.stack(slopes).view(weight.shape)
        assert slope.min() < 0 < slope.max()
        torch.testing.assert_close(score[name], slope, rtol=1e-6, atol=1e-10)


def test_sums_to_the_same_in_every_layer_of_a_relu_net_without_biases(context, draws):
    layers = nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)
    model = initialize(nn.Sequential(*layers), seed=0).double()
    one, two = skeletonization(model, context(draws(9))).values()
    assert abs(one.sum()) > 1e-3
    torch.testing.assert_close(one.sum(), two.sum())
