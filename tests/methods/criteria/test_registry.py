"""What every criterion of the registry promises when `prune` asks it for a mask."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from autos.errors import UserError
from autos.masks.mask import Mask
from autos.methods.base import one_round
from autos.methods.criteria import CRITERIA
from autos.network.prunable import prunable
from autos.pruning import prune
from tests.few_rounds import QUICK

BLIND = {"random", "npb", "ntk_sap", "uniform", "uniform_plus", "erk", "igq", "smart_ratio"}
"""Criteria that do not look at the values of the weights."""
CALLER_CHOOSES = {
    "snip", "snip_it", "iterative_snip", "force", "taylor_fo", "obd", "skeletonization"
}  # fmt: skip
"""Criteria that are scored in train or eval mode, as the model comes."""
LEAST = {("uniform_plus", "conv_net"): 41 / 132, ("smart_ratio", "conv_net"): 7 / 132}
"""Densities below which layers of a fixed size leave nothing for the others."""
NETWORKS = ["mlp", "conv_net", "with_dropout"]


@pytest.fixture
def with_dropout(mlp):
    return nn.Sequential(mlp.flatten, mlp.fc1, nn.Dropout(), nn.ReLU(), nn.Dropout(), mlp.fc2)


@pytest.fixture(params=NETWORKS)
def network(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=CRITERIA)
def criterion(request):
    return QUICK[request.param]


def masks_equal(one: Mask, two: Mask) -> bool:
    return list(one.keep) == list(two.keep) and all(
        torch.equal(one.keep[name], two.keep[name]) for name in one.keep
    )


@pytest.mark.parametrize("density", [1, 0.7, 0.2, 0.03])
def test_keeps_exactly_the_density_and_has_the_models_shapes(
    criterion, network, batches, density, request
):
    names = request.node.callspec.params
    if density < LEAST.get((names["criterion"], names["network"]), 0):
        with pytest.raises(UserError, match=r"conv1\.weight and|fc\.weight alone keep"):
            prune(network, criterion, batches, density=density)
        return
    mask = prune(network, criterion, batches, density=density)
    mask.check(network)
    assert list(mask.keep) == list(prunable(network))
    assert all(keep.dtype == torch.bool for keep in mask.keep.values())
    assert mask.kept == round(density * mask.total)


def test_leaves_the_model_and_global_randomness_as_they_were(criterion, network, batches):
    inputs, labels = batches[0]
    nn.functional.cross_entropy(network(inputs), labels).backward()
    network[1].eval()  # flags may differ from module to module
    state = copy.deepcopy(network.state_dict())
    gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
    flags = [module.training for module in network.modules()]
    randomness = torch.get_rng_state()

    prune(network, criterion, batches, density=0.4)

    assert torch.equal(torch.get_rng_state(), randomness)
    assert [module.training for module in network.modules()] == flags
    assert list(network.state_dict()) == list(state)
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == state[name].dtype and torch.equal(tensor, state[name]), name
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad and torch.equal(parameter.grad, gradients[name]), name


def test_the_same_seed_gives_the_same_mask(criterion, network, batches):
    torch.manual_seed(1)
    one = prune(network, criterion, batches, density=0.4, seed=5)
    torch.manual_seed(2)
    assert masks_equal(one, prune(network, criterion, batches, density=0.4, seed=5))


def test_each_round_scores_what_the_one_before_left(criterion, network, batches):
    seen = []

    def recording(model, context):
        seen.append(Mask({name: weight != 0 for name, weight in prunable(model).items()}))
        return criterion.score(model, context)

    last = prune(network, replace(criterion, score=recording), batches, density=0.4)

    steps = [*seen[1:], last]
    densities = criterion.densities(0.4, criterion.settings())
    assert seen[0].density == 1
    for before, after, density in zip(seen, steps, densities, strict=True):
        assert after.kept == round(density * after.total)
        assert not any((after.keep[n] & ~before.keep[n]).any() for n in after.keep)


def test_a_density_that_keeps_nothing_is_refused(criterion, mlp, batches):
    with pytest.raises(UserError, match=r"density 1e-05 keeps 0 of 804 weights|allows 0 in all"):
        prune(mlp, replace(criterion, densities=one_round), batches, density=1e-5)


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - BLIND))
def test_weights_that_are_nan_are_refused_by_layer(name, mlp, batches):
    with torch.no_grad():
        mlp.fc2.weight[0, 0] = float("nan")
    with pytest.raises(UserError, match=r"fc\d\.weight is NaN"):
        prune(mlp, QUICK[name], batches, density=0.5)


@pytest.mark.parametrize("name", sorted(BLIND))
def test_a_blind_criterion_gives_the_same_mask_for_other_weights(name, conv_net, batches):
    before = prune(conv_net, QUICK[name], batches, density=0.4)
    with torch.no_grad():
        for parameter in conv_net.parameters():
            parameter.uniform_(-9, 9)
    assert masks_equal(before, prune(conv_net, QUICK[name], batches, density=0.4))


@pytest.mark.parametrize("name", CRITERIA)
def test_only_criteria_that_leave_batch_statistics_to_the_caller_see_its_choice(
    name, conv_net, batches
):
    for module in conv_net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.1, 9)
    train, evaluate = (
        prune(conv_net.train(flag), QUICK[name], batches, density=0.5) for flag in (True, False)
    )
    assert masks_equal(train, evaluate) == (name not in CALLER_CHOOSES)
