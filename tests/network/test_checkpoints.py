"""Activation checkpoints change no mask: reentrant ones are derived, or refused by their cure."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from autos.analyses.effective_paths import effective
from autos.errors import UserError
from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.network.gradients import mean_gradient
from autos.predictors.autos import AutoS
from autos.pruning import prune

AUTOS = AutoS({"coefficients": {"path": 1.0, "unit": -0.5, "step": 0.2, "growth": 0.2}})
AUTOS.rounds = 3
BATCHES = [(torch.randn(5, 6), torch.arange(5) % 3), (torch.randn(3, 6), torch.arange(3))]


class Net(nn.Module):
    """Two layers in a checkpoint, behind one that makes its input need a gradient."""

    def __init__(self, reentrant):
        super().__init__()
        self.stem, self.head = nn.Linear(6, 8), nn.Linear(8, 3)
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
        self.reentrant = reentrant

    def forward(self, x):
        x = self.stem(x).relu()
        if self.reentrant is None:
            return self.head(self.body(x))
        return self.head(checkpoint(self.body, x, use_reentrant=self.reentrant))


def net(reentrant):
    torch.manual_seed(0)
    return Net(reentrant)


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_gradient_is_that_of_backward(reentrant):
    oracle, model = net(reentrant), net(reentrant)
    sum(len(y) * F.cross_entropy(oracle(x), y) for x, y in BATCHES).backward()
    model.head.weight.grad = torch.ones(3, 8)
    gradient = mean_gradient(model, BATCHES)
    for name, part in gradient.items():
        torch.testing.assert_close(part, oracle.get_parameter(name).grad / 8)
        assert part.any()
    assert torch.equal(model.head.weight.grad, torch.ones(3, 8))
    assert model.stem.weight.grad is None


@pytest.mark.parametrize(
    "name", ["snip", "taylor_fo", "skeletonization", "snip_it", "synflow", "npb", "autos"]
)
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_mask_is_that_of_the_network_without_checkpoints(name, reentrant):
    method = AUTOS if name == "autos" else CRITERIA[name]
    mask, plain = (prune(net(way), method, BATCHES, density=0.3) for way in (reentrant, None))
    assert all(map(torch.equal, mask.keep.values(), plain.keep.values()))


CURE = {
    "grasp": (r"reentrant checkpoints, .* use_reentrant=False", None),
    "phew": ("the model fails on a batch", None),
    "prospr": ("reentrant checkpoints, .*", "activation checkpoints .*: turn them off"),
    "ntk_sap": ("reentrant checkpoints, .*", "activation checkpoints .*: turn them off"),
}


@pytest.mark.parametrize("name", CURE)
@pytest.mark.parametrize("reentrant", [True, False])
def test_what_cannot_be_derived_through_checkpoints_is_refused_by_the_cure(name, reentrant):
    cure = CURE[name][0 if reentrant else 1]
    if cure:
        with pytest.raises(UserError, match=cure):
            prune(net(reentrant), CRITERIA[name], BATCHES, density=0.5)
    else:
        try:
            masks = [prune(net(way), CRITERIA[name], BATCHES, density=0.5) for way in (False, None)]
        except UserError as error:
            if "You must implement the jvp function" not in str(error):
                raise
            pytest.skip("this torch takes no forward derivative of a checkpoint")
        assert all(map(torch.equal, *(mask.keep.values() for mask in masks)))


def test_effective_paths_refuse_checkpoints():
    for reentrant in (True, False):
        model = net(reentrant)
        with pytest.raises(UserError, match=r"checkpoints.*turn them off"):
            effective(model, Mask.dense(model), (6,))
