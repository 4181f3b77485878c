"""The supermask: what is drawn, what its scores learn from it, and what is handed on."""

import pytest
import torch

from autos.methods.base import Context
from autos.methods.supermask import METHOD, Scaled, Settings, Supermask
from autos.pruning import find
from autos.training.recipe import TrainConfig

RECIPE = TrainConfig(epochs=2, batch_size=6, optimizer="adam", lr=1e-3, schedule="cosine")


def supermask(model, seed=0, **settings):
    generator = torch.Generator().manual_seed(seed)
    return Supermask(model, Context([], 0.5, generator, settings=Settings(**settings)))


def test_the_mean_mask_is_the_sigmoid_of_the_scores(mlp):
    search = supermask(mlp)
    scores = search.scores["fc2.weight"]
    assert not scores.any()  # one half at first
    scores.copy_(torch.linspace(-4, 4, 36).view(3, 12))
    draws = torch.stack([search.choose(None)["fc2.weight"] for _ in range(4000)]).double()
    assert set(draws.unique().tolist()) == {0, 1}
    p = scores.double().sigmoid()
    assert ((draws.mean(dim=0) - p).abs() < 4 * (p * (1 - p) / 4000).sqrt()).all()


def test_draws_differ_from_step_to_step_and_repeat_with_the_seed(mlp):
    one, two = supermask(mlp, seed=3), supermask(mlp, seed=3)
    first, second = (one.choose(None)["fc1.weight"] for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(first, two.choose(None)["fc1.weight"])
    assert not torch.equal(first, supermask(mlp, seed=4).choose(None)["fc1.weight"])


def test_the_gradient_of_a_score_is_that_of_its_mask_times_the_derivative_of_the_sigmoid(mlp):
    part = supermask(mlp.double()).scored["fc1.weight"]
    v = part.scores.detach().normal_()
    gradient = torch.randn_like(v)
    (part.mask() * gradient).sum().backward()
    expected = gradient * v.sigmoid() * (1 - v.sigmoid())
    torch.testing.assert_close(part.scores.grad, expected, rtol=1e-12, atol=0)


def test_scaled_weights_make_up_for_the_pruned_ones_and_so_does_their_gradient():
    """The quotient rule on L = sum(g * w * m * n / sum(m)), and dm/dv = sigmoid'(v)."""
    w, g, v = (torch.randn(5, 8, dtype=torch.float64) for _ in range(3))
    scored = Scaled(v.clone(), torch.sigmoid)
    m = scored.keep.copy_((torch.rand(5, 8) < 0.3).double())
    effective = scored(w)
    torch.testing.assert_close(effective, w * m * 40 / m.sum())
    (g * effective).sum().backward()
    by_mask = 40 / m.sum() * g * w - 40 / m.sum() ** 2 * (g * w * m).sum()
    expected = by_mask * v.sigmoid() * (1 - v.sigmoid())
    torch.testing.assert_close(scored.scores.grad, expected, rtol=1e-12, atol=0)


def test_an_empty_mask_is_not_divided_by():
    scored = Scaled(torch.zeros(3, 3), torch.sigmoid)
    scored.keep.zero_()
    assert not scored(torch.ones(3, 3)).any()


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("scaling", [False, True])
def test_weights_are_handed_on_as_they_were_searched_with(mlp, batches, constant, scaling):
    settings = {"signed_constant": constant, "dynamic_scaling": scaling}
    found = find(mlp, METHOD, batches, density=0.2, recipe=RECIPE, settings=settings)
    assert found.mask.kept == round(0.2 * 804) and not found.trained
    for name in ("fc1.weight", "fc2.weight"):
        weight, keep = mlp.state_dict()[name], found.mask.keep[name]
        if constant:
            weight = weight.sign() * weight.std(correction=0)
        if scaling:
            weight = weight * keep.numel() / keep.sum()
        torch.testing.assert_close(found.start[name], weight)


def test_the_mask_has_the_highest_scores(mlp, batches, monkeypatch):
    searched = []
    train = Supermask.train
    monkeypatch.setattr(
        Supermask, "train", lambda self, *args: (searched.append(self), train(self, *args))
    )
    found = find(mlp, METHOD, batches, density=0.2, recipe=RECIPE)
    scores = torch.cat([part.flatten() for part in searched[0].scores.values()])
    keep = torch.cat([keep.flatten() for keep in found.mask.keep.values()])
    assert scores.unique().numel() > 100  # they have been trained
    assert scores[keep].min() >= scores[~keep].max()
