"""SNIP: the effect of a weight's mask on the loss."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.methods.criteria import CRITERIA
from autos.network.gradients import mean_gradient
from autos.network.initialize import initialize
from autos.network.prunable import prunable

snip = CRITERIA["snip"].score


def network(*layers):
    return initialize(nn.Sequential(*layers), seed=0).double()


def test_is_the_derivative_of_the_loss_in_the_mask(context, draws):
    model = network(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 3))
    batches = draws(5, 7)
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    gradient = mean_gradient(model, batches)
    score = snip(copy.deepcopy(model), context(batches))
    step = 1e-5

    @torch.no_grad()
    def loss(name, index, mask):
        masked = copy.deepcopy(model)
        prunable(masked)[name].view(-1)[index] *= mask
        return F.cross_entropy(masked(inputs), labels)

    for name, weight in prunable(model).items():
        slope = torch.stack(
            [
                (loss(name, i, 1 + step) - loss(name, i, 1 - step)) / (2 * step)
                for i in range(weight.numel())
            ]
        ).view(weight.shape)
        torch.testing.assert_close(gradient[name] * weight, slope, rtol=1e-6, atol=1e-10)
        torch.testing.assert_close(score[name], slope.abs(), rtol=1e-6, atol=1e-10)


def test_of_a_linear_model_is_the_closed_form(context, draws):
    model = network(nn.Linear(4, 3))
    ((inputs, labels),) = batches = draws(9)
    error = model(inputs).softmax(dim=1) - F.one_hot(labels, 3)
    gradient = error.T @ inputs / 9
    score = snip(model, context(batches))["0.weight"]
    torch.testing.assert_close(score, (gradient * model[0].weight).abs())


def test_signed_sums_to_the_same_in_every_layer_of_a_relu_net_without_biases(context, draws):
    model = network(
        nn.Unflatten(1, (1, 4, 4)),
        nn.Conv2d(1, 3, 3, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(12, 8, bias=False),
        nn.ReLU(),
        nn.Linear(8, 3, bias=False),
    )
    ((inputs, labels),) = batches = draws(11, features=16)
    gradient = mean_gradient(model, batches)
    sums = [(gradient[name] * weight).sum() for name, weight in prunable(model).items()]
    logits = model(inputs).detach().requires_grad_()
    F.cross_entropy(logits, labels).backward()
    expected = (logits * logits.grad).sum().detach()
    assert abs(expected) > 1e-3
    torch.testing.assert_close(torch.stack(sums), expected.expand(3))
    score = snip(model, context(batches))
    for name, weight in prunable(model).items():
        torch.testing.assert_close(score[name], (gradient[name] * weight).abs())


@pytest.mark.parametrize("sizes", [(6, 6), (1, 11), (5, 5, 2)])
def test_does_not_depend_on_the_division_into_batches(context, draws, sizes):
    model = network(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    ((inputs, labels),) = whole = draws(12)
    parts = list(zip(inputs.split(sizes), labels.split(sizes), strict=True))
    one, two = snip(model, context(whole)), snip(model, context(parts))
    for name in one:
        torch.testing.assert_close(one[name], two[name])
