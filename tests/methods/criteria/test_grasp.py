"""GraSP: S = -w * Hg of the loss on logits / 200; the smallest S stay, and our score is -S."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian, jacobian
from torch.nn import functional as F

from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.methods.criteria.grasp import Settings
from autos.network.initialize import initialize
from autos.network.prunable import prunable
from autos.pruning import prune

grasp = CRITERIA["grasp"].score
SETTINGS = Settings()
NAMES = ("0.weight", "2.weight")


@pytest.fixture
def model():
    layers = nn.Linear(4, 5), nn.SiLU(), nn.Linear(5, 3)
    return initialize(nn.Sequential(*layers), seed=1).double()


@pytest.fixture
def batches(draws):
    return draws(9)


@pytest.fixture
def loss(model, batches):
    """The loss as a function of all prunable weights [n], the biases being fixed."""
    ((inputs, labels),) = batches
    biases = {name: p.detach() for name, p in model.named_parameters() if name.endswith("bias")}

    def function(flat):
        pieces = flat.split([20, 15])
        weights = {"0.weight": pieces[0].view(5, 4), "2.weight": pieces[1].view(3, 5)}
        logits = torch.func.functional_call(model, {**weights, **biases}, (inputs,))
        return F.cross_entropy(logits / 200, labels)

    return function


def flat(values):
    return torch.cat([values[name].detach().flatten() for name in NAMES])


def test_is_the_exact_hessian_times_gradient(model, loss, batches, context):
    w = flat(prunable(model))
    hg = hessian(loss, w) @ jacobian(loss, w)
    torch.testing.assert_close(
        flat(grasp(model, context(batches, settings=SETTINGS))), w * hg, rtol=1e-9, atol=0
    )


def test_is_the_finite_difference_of_the_gradient_along_itself(model, loss, batches, context):
    w = flat(prunable(model))
    gradient = jacobian(loss, w)
    step = 1e-3 / gradient.norm()
    ahead, behind = (jacobian(loss, w + sign * step * gradient) for sign in (1, -1))
    along = (ahead - behind) / (2 * step)
    torch.testing.assert_close(
        flat(grasp(model, context(batches, settings=SETTINGS))), w * along, rtol=1e-4, atol=1e-14
    )


def test_is_minus_half_the_change_of_the_gradient_norm_when_a_weight_shrinks(
    model, loss, batches, context
):
    w, score = flat(prunable(model)), flat(grasp(model, context(batches, settings=SETTINGS)))
    step = 1e-4

    def flow(i, scale):
        shrunk = w.clone()
        shrunk[i] *= 1 - scale
        return jacobian(loss, shrunk).square().sum()

    slope = [(flow(i, step) - flow(i, -step)) / (2 * step) for i in range(len(w))]
    torch.testing.assert_close(-2 * score, torch.stack(slope), rtol=1e-5, atol=1e-14)


def test_keeps_the_smallest_s_which_leaves_more_gradient_than_the_other_end(model, loss, batches):
    w = flat(prunable(model))
    gradient = jacobian(loss, w)
    s = -w * (hessian(loss, w) @ gradient)
    mask = flat(prune(model, CRITERIA["grasp"], batches, density=0.8).keep)
    assert set(mask.nonzero().flatten().tolist()) == set(s.argsort()[:28].tolist())
    low = prune(model, CRITERIA["grasp"], batches, density=0.8, settings={"end": "low"})
    other = flat(low.keep)
    assert set(other.nonzero().flatten().tolist()) == set(s.argsort()[-28:].tolist())

    def flow(kept):
        return float(jacobian(loss, w * kept).norm())

    assert flow(mask) > float(gradient.norm()) > flow(other)


def test_dividing_the_logits_is_dividing_the_last_layer(model, batches, context):
    small = copy.deepcopy(model)
    with torch.no_grad():
        small[2].weight.div_(2)
        small[2].bias.div_(2)
    tempered = grasp(model, context(batches, settings=Settings(temperature=2)))
    plain = grasp(small, context(batches, settings=Settings(temperature=1)))
    # The Hessian and the gradient in the first layer are those of one function.
    assert tempered["0.weight"].any()
    assert not torch.allclose(tempered["2.weight"], plain["2.weight"])


def test_hardsigmoid_has_a_second_derivative_here(batches, context):
    def scores(activation):
        layers = nn.Linear(4, 5), activation, nn.Linear(5, 3)
        return flat(
            grasp(
                initialize(nn.Sequential(*layers), seed=1).double(),
                context(batches, settings=SETTINGS),
            )
        )

    class Defined(nn.Module):
        def forward(self, x):
            return (x / 6 + 1 / 2).clamp(0, 1)

    torch.testing.assert_close(scores(nn.Hardsigmoid()), scores(Defined()))


def test_averages_the_gradient_and_the_hessian_over_all_samples(model, batches, context):
    ((inputs, labels),) = batches
    parts = list(zip(inputs.split([2, 6, 1]), labels.split([2, 6, 1]), strict=True))
    torch.testing.assert_close(
        flat(grasp(model, context(parts, settings=SETTINGS))),
        flat(grasp(model, context(batches, settings=SETTINGS))),
    )


def test_a_pruned_weight_scores_zero_but_negative_scores_exist(model, batches, context):
    pruned = copy.deepcopy(model)
    keep = {name: torch.rand(w.shape) < 0.5 for name, w in prunable(model).items()}
    Mask(keep).apply_(pruned)
    score = flat(grasp(pruned, context(batches, settings=SETTINGS)))
    assert bool((score[~flat(keep)] == 0).all())
    assert score[flat(keep)].min() < 0 < score[flat(keep)].max()
