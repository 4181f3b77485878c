"""SynFlow: the synaptic flow through each weight."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.network.initialize import initialize
from autos.network.prunable import prunable
from autos.pruning import prune

SYNFLOW = CRITERIA["synflow"]


def linear_net(*sizes):
    layers = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after, bias=False), nn.ReLU()]
    return initialize(nn.Sequential(*layers[:-1]), seed=0)


def flow(matrices):
    """1' |W_L| ... |W_1|, and from the other side |W_L| ... |W_1| 1."""
    ones = torch.ones(matrices[0].shape[1], dtype=torch.float64)
    for matrix in matrices:
        ones = matrix.abs() @ ones
    return ones


def test_of_linear_layers_is_the_closed_form(context, draws):
    model = linear_net(4, 6, 5, 3).double()
    matrices = [weight.detach().clone() for weight in prunable(model).values()]
    scores = list(SYNFLOW.score(model, context(draws(2))).values())
    for i, matrix in enumerate(matrices):
        into = flow(matrices[:i]) if i else torch.ones(4, dtype=torch.float64)
        after = [m.T for m in reversed(matrices[i + 1 :])]
        out = flow(after) if after else torch.ones(3, dtype=torch.float64)
        torch.testing.assert_close(scores[i], out[:, None] * matrix.abs() * into)


def test_is_conserved_at_every_hidden_unit(context, draws):
    model = linear_net(4, 6, 5, 3).double()
    scores = list(SYNFLOW.score(model, context(draws(2))).values())
    for before, after in pairwise(scores):
        torch.testing.assert_close(before.sum(dim=1), after.sum(dim=0))


def test_sums_to_the_total_flow_in_every_layer_of_a_convolutional_net(context):
    norm = nn.BatchNorm2d(6, affine=False)
    layers = (
        nn.Conv2d(2, 6, 3, bias=False),
        norm,
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=3, bias=False),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 3, bias=False),
    )
    model = initialize(nn.Sequential(*layers), seed=0).double().eval()
    norm.running_var.uniform_(0.5, 2)
    image = torch.zeros(1, 2, 6, 6, dtype=torch.float64)
    for weight in prunable(model).values():
        weight.data.abs_()
    total = model(torch.ones_like(image)).sum().detach()
    scores = SYNFLOW.score(model, context([(image, torch.zeros(1))]))
    assert total > 1
    for name, score in scores.items():
        torch.testing.assert_close(score.sum(), total, msg=name)


def test_a_pruned_weight_scores_zero_and_no_score_is_negative(context, draws):
    model = linear_net(4, 6, 3).double()
    keep = {name: torch.rand(w.shape) < 0.5 for name, w in prunable(model).items()}
    Mask(keep).apply_(model)
    for name, score in SYNFLOW.score(model, context(draws(2))).items():
        assert bool((score >= 0).all()) and bool((score[~keep[name]] == 0).all())


def test_needs_neither_data_nor_signs(conv_net, batches):
    one = prune(conv_net, SYNFLOW, batches, density=0.3)
    with torch.no_grad():
        for parameter in conv_net.parameters():
            parameter *= -1
    other = [(torch.full_like(inputs, 7), labels) for inputs, labels in batches]
    two = prune(conv_net, SYNFLOW, other, density=0.3)
    assert all(torch.equal(one.keep[name], two.keep[name]) for name in one.keep)


def test_a_hundred_rounds_keep_every_layer_where_one_round_empties_some(draws):
    model = linear_net(4, 60, 60, 60, 8, 3)
    hundred = prune(model, SYNFLOW, draws(2), density=0.003)
    one = prune(model, SYNFLOW, draws(2), density=0.003, settings={"rounds": 1})
    assert one.kept == hundred.kept == 24
    assert len(one.empty_layers()) >= 2
    assert not hundred.empty_layers()


def test_a_deep_wide_net_overflows_in_float32_but_not_as_pruned(context, draws):
    model = linear_net(4, *[64] * 45, 3)
    batches = draws(2)
    mask = prune(model, SYNFLOW, batches, density=0.05, settings={"rounds": 10})
    assert not mask.empty_layers()
    double = SYNFLOW.score(linear_net(4, *[64] * 45, 3).double(), context(batches))
    assert all(bool(score.isfinite().all()) for score in double.values())
    single = SYNFLOW.score(model, context([(batches[0][0].float(), batches[0][1])]))
    assert not any(bool(score.isfinite().all()) for score in single.values())


@pytest.mark.parametrize("density", [0.5, 0.05])
def test_scoring_anew_after_each_round_changes_the_mask(mlp, batches, density):
    one = prune(mlp, SYNFLOW, batches, density=density, settings={"rounds": 1})
    many = prune(mlp, SYNFLOW, batches, density=density)
    assert one.kept == many.kept
    assert any(not torch.equal(one.keep[name], many.keep[name]) for name in one.keep)
