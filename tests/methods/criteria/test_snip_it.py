"""SNIP-it: SNIP in rounds."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from autos.errors import UserError
from autos.methods.criteria import CRITERIA
from autos.network.initialize import initialize
from autos.pruning import prune

SNIP_IT = CRITERIA["snip_it"]


def equal(one, two):
    return all(torch.equal(one.keep[name], two.keep[name]) for name in one.keep)


def test_one_round_is_snip_and_seven_are_not(mlp, batches):
    snip = prune(mlp, CRITERIA["snip"], batches, density=0.05)
    assert equal(prune(mlp, SNIP_IT, batches, density=0.05, settings={"rounds": 1}), snip)
    assert not equal(prune(mlp, SNIP_IT, batches, density=0.05), snip)


@pytest.mark.parametrize(("density", "rounds"), [(0.02, 7), (0.49, 7), (0.5, 1), (0.9, 1)])
def test_scores_seven_times_on_the_way_below_a_half(mlp, batches, density, rounds):
    left = []

    def recording(model, context):
        left.append(sum(int(w.count_nonzero()) for w in (model.fc1.weight, model.fc2.weight)))
        return SNIP_IT.score(model, context)

    prune(mlp, replace(SNIP_IT, score=recording), batches, density=density)
    assert len(left) == rounds
    if density == 0.02:  # of the authors: .5, .74, .86, .92, .95, .965 are removed
        shares = [1, 0.5, 0.26, 0.14, 0.08, 0.05, 0.035]
        assert left == [round(share * 804) for share in shares]


def test_a_network_that_the_rounds_have_cut_apart_is_pruned_on(batches):
    layers = [layer for _ in range(30) for layer in (nn.Linear(4, 4), nn.ReLU())]
    model = initialize(nn.Sequential(nn.Flatten(), nn.Linear(64, 4), *layers, nn.Linear(4, 3)), 0)
    mask = prune(model, SNIP_IT, batches, density=0.02)
    assert mask.empty_layers()
    assert mask.kept == round(0.02 * mask.total)


def test_a_loss_that_depends_on_no_weight_is_refused(mlp, batches):
    with pytest.raises(UserError, match="every gradient is 0"):
        prune(mlp, SNIP_IT, batches, density=0.02, loss=lambda output, _: 0 * output.sum())
