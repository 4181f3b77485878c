"""ProsPr: the effect of a mask on the loss after some training."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.methods.base import Context
from autos.methods.criteria import CRITERIA
from autos.methods.criteria.prospr import Settings
from autos.network.cost import counting
from autos.network.initialize import initialize

prospr = CRITERIA["prospr"].score


def quadratic(output, batch):
    """Half of `a` times the squared weight: the inputs are the unit vectors, the labels `a`."""
    return (batch[1] * output.flatten().square()).sum() / 2


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_of_a_quadratic_is_the_closed_form(steps, first_order, momentum):
    curvature = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    model = nn.Linear(3, 1, bias=False).double()
    start = model.weight.detach()[0].clone()
    settings = Settings(steps=steps, lr=0.1, momentum=momentum, first_order=first_order)
    batches = [(torch.eye(3).double(), curvature)]
    context = Context(batches, 0.5, torch.Generator(), quadratic, settings)
    # The weight stays a multiple of its start: w <- w - lr * v, v <- momentum * v + a * w.
    factor, velocity = torch.ones(3).double(), torch.zeros(3).double()
    for _ in range(steps):
        velocity = momentum * velocity + curvature * factor
        factor = factor - 0.1 * velocity
    expected = curvature * factor * (1 if first_order else factor) * start.square()
    if not momentum:
        torch.testing.assert_close(factor, (1 - 0.1 * curvature) ** steps)
    torch.testing.assert_close(prospr(model, context)["weight"][0], expected.abs())


@pytest.fixture
def model():
    layers = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 3)
    return initialize(nn.Sequential(*layers), seed=0).double()


def test_without_steps_is_snip(model, context, draws):
    batches = draws(9)
    ours = prospr(copy.deepcopy(model), context(batches, settings=Settings(steps=0)))
    snip = CRITERIA["snip"].score(model, context(batches))
    for name in snip:
        torch.testing.assert_close(ours[name], snip[name])


@pytest.mark.parametrize("new_batches", [False, True])
def test_is_the_finite_difference_of_the_loss_after_sgd(model, context, draws, new_batches):
    batches = draws(8, 7)
    settings = Settings(steps=3, lr=0.2, momentum=0.9, new_batches=new_batches)
    score = prospr(copy.deepcopy(model), context(batches, settings=settings))
    order = [batches[i % 2] if new_batches else batches[0] for i in range(4)]

    def loss_after(index, scale):
        trained = copy.deepcopy(model)
        with torch.no_grad():
            trained[0].weight.view(-1)[index] *= scale
        optimizer = torch.optim.SGD(trained.parameters(), lr=0.2, momentum=0.9)
        for inputs, labels in order[:3]:
            optimizer.zero_grad()
            F.cross_entropy(trained(inputs), labels).backward()
            optimizer.step()
        return F.cross_entropy(trained(order[3][0]), order[3][1]).detach()

    step = 1e-5
    slopes = [
        (loss_after(i, 1 + step) - loss_after(i, 1 - step)) / (2 * step)
        for i in range(model[0].weight.numel())
    ]
    expected = torch.stack(slopes).abs().view(6, 4)
    torch.testing.assert_close(score["0.weight"], expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("first_order", "backward"), [(False, 63), (True, 36)])
def test_counts_the_passes_through_the_steps(model, context, draws, first_order, backward):
    with counting() as cost:
        prospr(model, context(draws(9), settings=Settings(first_order=first_order)))
    assert cost().forward == 36 and cost().backward == backward
