"""OBD: half the curvature times the squared weight, against the exact diagonal of the Hessian."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.errors import UserError
from autos.methods.base import Context
from autos.methods.criteria import CRITERIA
from autos.methods.criteria.obd import Settings
from autos.network.batches import cross_entropy
from autos.network.prunable import prunable
from autos.pruning import prune

obd = CRITERIA["obd"].score
INPUTS = torch.tensor([[1.0, 2.0, -1.0], [0.5, -1.0, 3.0], [2.0, 0.0, 1.0]], dtype=torch.float64)


def squares(output, batch):
    return (output - batch[1]).square().mean() / 2


def scored(model, batches, *, samples, loss=cross_entropy):
    generator = torch.Generator().manual_seed(0)
    return obd(model, Context(batches, 0.5, generator, loss, Settings(samples=samples)))


def linear(weight):
    model = nn.Linear(len(weight), 1, bias=False).double()
    model.weight.data.copy_(weight)
    return model


def deep(outputs=3):
    """A network of ReLUs, whose Hessian has the diagonal of its Gauss-Newton matrix."""
    layers = [nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, outputs)]
    return nn.Sequential(*layers).double()


def exact(model, batches, loss):
    """h * w^2 / 2 by name, h from the whole Hessian of every layer."""
    weights = {name: w.detach() for name, w in prunable(model).items()}
    samples = sum(len(batch[0]) for batch in batches)

    def mean_loss(name, value):
        total = 0
        for batch in batches:
            output = torch.func.functional_call(model, {name: value}, batch[0])
            total = total + loss(output, batch) * len(batch[0]) / samples
        return total

    scores = {}
    for name, weight in weights.items():
        hessian = torch.func.hessian(lambda value, name=name: mean_loss(name, value))(weight)
        diagonal = hessian.reshape(weight.numel(), weight.numel()).diagonal()
        scores[name] = diagonal.view_as(weight) * weight.square() / 2
    return scores


def flat(scores):
    return torch.cat([part.flatten() for part in scores.values()])


def spearman(one, two):
    ranks = torch.stack([x.argsort().argsort().double() for x in (one, two)])
    return float(torch.corrcoef(ranks)[0, 1])


LOSSES = {"cross_entropy": cross_entropy, "squares": squares}


def data(draws, loss):
    batches = draws(30, 20)
    return (
        batches
        if loss is cross_entropy
        else [(x, torch.randn(len(x), 3).double()) for x, _ in batches]
    )


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_many_samples_are_the_exact_diagonal_of_a_network_of_several_layers(draws, loss):
    model, batches = deep(), data(draws, loss)
    score = flat(scored(model, batches, samples=800, loss=loss))
    expected = flat(exact(model, batches, loss))
    assert bool((score >= 0).all()) and bool((expected >= -1e-12).all())
    # The square of a normal variable has a relative deviation of 2^0.5; here are 800 draws of it.
    torch.testing.assert_close(score, expected, rtol=0.3, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_ten_samples_order_the_weights_nearly_as_the_exact_diagonal_does(draws, loss):
    model, batches = deep(), data(draws, loss)
    score = flat(scored(model, batches, samples=10, loss=loss))
    expected = flat(exact(model, batches, loss))
    assert bool((score >= 0).all()) and spearman(score, expected) > 0.95


def test_one_vector_is_exact_where_the_hessian_is_diagonal():
    weight = torch.tensor([1.0, -2.0, 3.0])
    inputs = torch.diag(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    batches = [(inputs, torch.ones(3, 1).double())]
    score = scored(linear(weight), batches, samples=1, loss=squares)["weight"][0]
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
    parts = list(zip(INPUTS.tensor_split(batches), targets.tensor_split(batches), strict=True))
    score = scored(linear(weight), parts, samples=800, loss=squares)["weight"][0]
    torch.testing.assert_close(score, torch.stack(rises), rtol=0.2, atol=0)


def test_a_loss_that_ties_samples_together_has_its_whole_hessian(draws):
    """The spread of a batch: each output counts against the others."""
    model, batches = deep(), draws(12)

    def spread(output, batch):
        return output.var(dim=0).sum()

    score = scored(model, batches, samples=800, loss=spread)
    torch.testing.assert_close(
        flat(score), flat(exact(model, batches, spread)), rtol=0.3, atol=1e-9
    )


def test_negative_curvature_has_a_negative_score(draws):
    def concave(output, batch):
        return -output.square().mean()

    model, batches = deep(), draws(20)
    score = flat(scored(model, batches, samples=800, loss=concave))
    assert bool((score <= 0).all()) and bool((score < 0).any())
    torch.testing.assert_close(score, flat(exact(model, batches, concave)), rtol=0.3, atol=1e-9)


def test_a_loss_that_is_linear_in_the_outputs_has_no_curvature(draws):
    score = scored(deep(), draws(5), samples=1, loss=lambda output, _: output.mean())
    assert not flat(score).any()


def test_labels_that_do_not_count_leave_the_score_as_it_is(draws):
    model = deep()
    ((inputs, labels),) = draws(20)
    labels[5:] = -100
    score = flat(scored(model, [(inputs, labels)], samples=800))
    expected = flat(exact(model, [(inputs[:5], labels[:5])], cross_entropy))
    torch.testing.assert_close(score, expected, rtol=0.3, atol=1e-9)


@pytest.mark.parametrize("last", [True, False], ids=["tokens", "pixels"])
def test_classes_may_be_the_last_axis_or_the_second(draws, last):
    class PerPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = deep()

        def forward(self, x):
            scores = self.layers(x)  # [n, 5, 3]
            return scores if last else scores.movedim(-1, 1)

    model = PerPlace()
    ((inputs, labels),) = draws(40)
    batch = (inputs.view(8, 5, 4), labels.view(8, 5))
    score = flat(scored(model, [batch], samples=800))
    expected = flat(exact(model.layers, [(inputs, labels)], cross_entropy))
    torch.testing.assert_close(score, expected, rtol=0.3, atol=1e-9)


def test_a_network_that_is_sure_of_everything_has_scores_of_zero_and_no_nan():
    model = nn.Linear(2, 3, bias=False)
    model.weight.data = torch.tensor([[1e4, 0], [0, 1e4], [-1e4, -1e4]])
    score = scored(model, [(torch.eye(2), torch.tensor([0, 1]))], samples=3)["weight"]
    assert not score.any()


def test_too_many_outputs_are_refused(mlp):
    batches = [(torch.randn(1000, 1, 8, 8), torch.randn(1000, 3))]
    with pytest.raises(UserError, match=r"3,000 outputs of a batch.*smaller batches"):
        prune(mlp, CRITERIA["obd"], batches, density=0.5, loss=squares)


def test_removing_the_lowest_hurts_less_than_magnitude_in_a_trained_network(draws):
    """A trained network of several layers, cut to a half without any training afterwards."""
    torch.manual_seed(0)
    teacher, model = deep(), deep()
    inputs = torch.randn(400, 4, dtype=torch.float64) * torch.tensor([4.0, 1, 0.5, 0.2])
    labels = teacher(inputs).argmax(1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    losses = {}
    for name in ("obd", "magnitude"):
        mask = prune(model, CRITERIA[name], [(inputs, labels)], density=0.6)
        pruned = nn.Sequential(*model)
        state = {n: w.detach() * mask.keep[n] for n, w in prunable(model).items()}
        losses[name] = float(
            F.cross_entropy(torch.func.functional_call(pruned, state, inputs), labels)
        )
    assert losses["obd"] < losses["magnitude"]
