"""OBD: half the curvature times the squared weight."""

import pytest
import torch
from torch import nn

from autos.methods.base import Context
from autos.methods.criteria import CRITERIA
from autos.methods.criteria.obd import Settings

obd = CRITERIA["obd"].score
INPUTS = torch.tensor([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0], [2.0, 0.0, 1.0]], dtype=torch.float64)


def squares(output, batch):
    return (output - batch[1]).square().mean() / 2


def scored(inputs, weight, targets, *, samples, batches=1):
    """Of a linear model under squared loss: half the mean of (Xw - t)^2."""
    model = nn.Linear(inputs.shape[1], 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(weight)
    generator = torch.Generator().manual_seed(0)
    parts = list(zip(inputs.tensor_split(batches), targets.tensor_split(batches), strict=True))
    context = Context(parts, 0.5, generator, squares, Settings(samples=samples))
    return obd(model, context)["weight"][0]


def test_one_vector_is_exact_where_the_hessian_is_diagonal():
    weight = torch.tensor([1.0, -2.0, 3.0])
    inputs = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    score = scored(inputs, weight, torch.ones(3, 1).double(), samples=1)
    torch.testing.assert_close(score, weight.double() ** 2 * torch.tensor([1, 4, 9]) / 3 / 2)


@pytest.mark.parametrize("batches", [1, 2])
def test_many_vectors_come_close_to_the_rise_of_the_loss_at_a_minimum(batches):
    weight = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    targets = (INPUTS @ weight)[:, None]  # the loss is 0 here, and quadratic
    rises = []
    for i in range(3):
        without = weight.clone()
        without[i] = 0
        rises.append(squares((INPUTS @ without)[:, None], (INPUTS, targets)))
    score = scored(INPUTS, weight, targets, samples=800, batches=batches)
    hessian = INPUTS.T @ INPUTS / 3
    # The variance of one sample is the sum of squares beside the diagonal (Rademacher).
    beside = hessian.square().sum(dim=1) - hessian.diagonal().square()
    deviation = beside.sqrt() * weight.square() / 2 / 800**0.5
    assert bool(((score - torch.stack(rises)).abs() < 4 * deviation).all())


def test_negative_curvature_has_a_negative_score(context, draws):
    model = nn.Sequential(nn.Linear(4, 3)).double()

    def concave(output, batch):
        return -output.square().mean()

    generator = torch.Generator().manual_seed(0)
    score = obd(model, Context(draws(50), 0.5, generator, concave, Settings(samples=50)))
    assert bool((score["0.weight"] < 0).all())
