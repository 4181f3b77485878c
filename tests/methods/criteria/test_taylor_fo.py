"""Taylor-FO: the squared first-order change of the loss."""

import torch
from torch import nn

from autos.methods.criteria import CRITERIA
from autos.network.gradients import mean_gradient
from autos.network.initialize import initialize
from autos.network.prunable import prunable

taylor = CRITERIA["taylor_fo"].score
snip = CRITERIA["snip"].score


def network():
    return initialize(nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 3)), seed=0).double()


def test_of_one_batch_is_the_square_of_snip(context, draws):
    model, batches = network(), draws(9)
    squares, scores = taylor(model, context(batches)), snip(model, context(batches))
    for name in squares:
        torch.testing.assert_close(squares[name], scores[name] ** 2)


def test_of_several_is_the_mean_of_their_squares_over_the_samples(context, draws):
    model, batches = network(), draws(2, 7)
    score = taylor(model, context(batches))
    gradients = [mean_gradient(model, [batch]) for batch in batches]
    for name, weight in prunable(model).items():
        few, many = ((gradient[name] * weight.detach()) ** 2 for gradient in gradients)
        torch.testing.assert_close(score[name], (2 * few + 7 * many) / 9)
    square_of_mean = snip(model, context(batches))["0.weight"] ** 2
    assert bool((score["0.weight"] >= square_of_mean).all())
    assert not torch.allclose(score["0.weight"], square_of_mean)
