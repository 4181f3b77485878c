"""NTK-SAP: against its closed form on a linear network, and what it must not depend on."""

import copy

import torch
from torch import nn

from autos.methods.base import Context
from autos.methods.criteria import CRITERIA
from autos.methods.criteria.ntk_sap import Settings
from autos.network.initialize import initialize
from autos.network.prunable import prunable
from autos.pruning import prune

NTK_SAP = CRITERIA["ntk_sap"]


class Recorded(nn.Linear):
    """Notes its inputs and weights, pass by pass."""

    def __init__(self, *shape):
        super().__init__(*shape, bias=False, dtype=torch.float64)
        self.passes = []

    def forward(self, x):
        self.passes.append((x.detach(), self.weight.detach()))
        return super().forward(x)


def test_a_linear_network_has_the_closed_form():
    model = Recorded(4, 3)
    model.weight.data[0] = 0
    batches = [(torch.zeros(6, 4, dtype=torch.float64), torch.zeros(6, dtype=torch.long))]
    settings = Settings(redraws=3, epsilon=0.1)
    score = NTK_SAP.score(model, Context(batches, 0.5, torch.Generator(), settings=settings))
    # Of the passes of a redraw the first is for BatchNorm, and there are two for the difference.
    expected = 0
    for (x, one), (same, other) in zip(model.passes[1::3], model.passes[2::3], strict=True):
        noise = other - one  # J = sum of (noise x)^2, and noise is linear in the mask
        expected = expected + (noise * (2 * (x @ noise.T).T @ x)).abs()
        assert x.equal(same) and abs(x.mean()) < 1 and 0.5 < x.std() < 1.5
        assert not one[0].any() and not noise[0].any(), "pruned weights are not jostled"
        assert 0.05 < noise[1:].std() < 0.2
    assert len(model.passes) == 9 and not model.passes[1][1].equal(model.passes[4][1])
    torch.testing.assert_close(score["weight"], expected)


def test_neither_data_nor_labels_nor_weights_matter_but_the_seed_does(conv_net, batches):
    mask = prune(conv_net, NTK_SAP, batches, density=0.2)
    noise = [(torch.randn_like(x), (y + 1) % 3) for x, y in batches]
    other = initialize(copy.deepcopy(conv_net), seed=9)
    again = prune(other, NTK_SAP, noise, density=0.2)
    assert all(mask.keep[name].equal(again.keep[name]) for name in mask.keep)
    different = prune(conv_net, NTK_SAP, batches, density=0.2, seed=1)
    assert any(not mask.keep[name].equal(different.keep[name]) for name in mask.keep)


def test_batch_norm_has_the_statistics_of_the_same_noise():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    model[1].running_mean.fill_(1e6)
    seen = []
    model[1].register_forward_hook(lambda norm, given, output: seen.append((given[0], output)))
    batches = [(torch.zeros(64, 4), torch.zeros(64, dtype=torch.long))]
    NTK_SAP.score(model, Context(batches, 0.5, torch.Generator(), settings=Settings(redraws=1)))
    (before, _), (same, output), _ = seen
    torch.testing.assert_close(before, same)
    torch.testing.assert_close(output.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(output.std(0), torch.ones(5), atol=1e-2, rtol=0)


def test_a_weight_that_reaches_no_output_is_worth_nothing():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    with torch.no_grad():
        model[1].weight[:, 0] = 0
    batches = [(torch.zeros(8, 3), torch.zeros(8, dtype=torch.long))]
    score = NTK_SAP.score(model, Context(batches, 0.5, torch.Generator(), settings=Settings()))
    assert not score["0.weight"][0].any() and (score["0.weight"][1:] > 0).all()
    assert set(score) == set(prunable(model))
