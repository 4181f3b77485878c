"""What every method that trains promises; tests/criteria/test_registry.py has the criteria."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autos.errors import UserError
from autos.methods import METHODS
from autos.network.prunable import prunable
from autos.pruning import find, prune
from autos.training.recipe import TrainConfig

TRAINING = [name for name, method in METHODS.items() if method.data == "training"]
STEPS = 2 * 3

WHOLE = {"early_bird": 24}
"""Weights of `conv_net` that a method keeps in any case."""


def recipe(**changes):
    """Two epochs of the 3 batches."""
    settings = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "schedule": "cosine"}
    return TrainConfig(**{"epochs": 2, "batch_size": 6, **settings} | changes)


ADAM = {"optimizer": "adam", "lr": 1e-2, "momentum": 0.0}


@pytest.fixture(params=TRAINING)
def name(request):
    return request.param


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)


def same(one, two):
    return (
        equal(one.mask.keep, two.mask.keep)
        and (one.step, one.trained) == (two.step, two.trained)
        and equal(one.start or {}, two.start or {})
    )


@pytest.mark.parametrize("density", [1, 0.5, 0.1])
@pytest.mark.parametrize(
    ("network", "changes"), [("mlp", ADAM), ("conv_net", {})], ids=["mlp-adam", "conv_net-sgd"]
)
def test_keeps_exactly_the_density_and_says_where_to_train_on_from(
    name, network, changes, density, batches, request
):
    if network == "mlp" and name in WHOLE:
        pytest.skip("it has no BatchNorm")
    model = request.getfixturevalue(network)
    count = round(density * sum(weight.numel() for weight in prunable(model).values()))
    if count <= WHOLE.get(name, 0):
        pytest.skip("it refuses this density")
    found = find(model, METHODS[name], batches, density=density, recipe=recipe(**changes))
    found.mask.check(model)
    assert list(found.mask.keep) == list(prunable(model))
    assert all(keep.dtype == torch.bool for keep in found.mask.keep.values())
    assert found.mask.kept == count
    assert 0 <= found.step < STEPS
    if found.start is not None:
        expected = model.state_dict()
        assert found.start.keys() == expected.keys()
        for key, value in found.start.items():
            assert (value.shape, value.dtype) == (expected[key].shape, expected[key].dtype)
            assert not value.requires_grad and value.device.type == "cpu"
            assert bool(value.isfinite().all())
    if found.trained:
        for key, keep in found.mask.keep.items():
            assert not found.start[key][~keep].any()


@pytest.mark.filterwarnings("ignore:Found 1 module.* in eval mode")
def test_leaves_the_model_and_global_randomness_as_they_were(name, conv_net, batches):
    inputs, labels = batches[0]
    nn.functional.cross_entropy(conv_net(inputs), labels).backward()
    conv_net.bn1.eval()  # flags may differ from module to module
    conv_net.conv2.weight.requires_grad_(False)
    state = copy.deepcopy(conv_net.state_dict())
    gradients = {n: p.grad.clone() for n, p in conv_net.named_parameters()}
    flags = [module.training for module in conv_net.modules()]
    layouts = [p.stride() for p in conv_net.parameters()]
    data = [tuple(part.clone() for part in batch) for batch in batches]
    randomness = torch.get_rng_state()

    prune(conv_net, METHODS[name], batches, density=0.5, recipe=recipe())

    assert torch.equal(torch.get_rng_state(), randomness)
    assert [module.training for module in conv_net.modules()] == flags
    assert equal(conv_net.state_dict(), state)
    assert [p.stride() for p in conv_net.parameters()] == layouts
    for n, parameter in conv_net.named_parameters():
        assert parameter.requires_grad == (n != "conv2.weight")
        assert torch.equal(parameter.grad, gradients[n]), n
    assert not any(module._forward_hooks for module in conv_net.modules())
    assert not any(module._forward_pre_hooks for module in conv_net.modules())
    for before, after in zip(data, batches, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_same_seed_finds_the_same(name, conv_net, batches):
    model = nn.Sequential(conv_net[:-1], nn.Dropout(0.3), conv_net.fc)
    options = {"density": 0.3, "recipe": recipe(), "seed": 5}
    torch.manual_seed(1)
    one = find(model, METHODS[name], batches, **options)
    torch.manual_seed(2)
    assert same(one, find(model, METHODS[name], batches, **options))


def test_training_looks_at_weights_and_at_all_the_data(name, conv_net, batches):
    (inputs, labels), *rest = batches
    options = {"density": 0.5, "recipe": recipe(epochs=5, lr=0.5)}
    one = find(conv_net, METHODS[name], batches, **options)
    other = find(conv_net, METHODS[name], [(inputs.flip(0), labels), *rest], **options)
    assert not same(one, other) or one.start is None
    assert one.cost.backward > 0 and one.cost.forward >= one.cost.backward


def test_a_model_in_eval_mode_is_trained_in_train_mode(name, conv_net, batches):
    options = {"density": 0.3, "recipe": recipe()}
    one = find(conv_net.train(), METHODS[name], batches, **options)
    assert same(one, find(conv_net.eval(), METHODS[name], batches, **options))


def test_trains_on_loaders_and_dictionaries(name, conv_net, batches):
    options = {"density": 0.3, "recipe": recipe()}
    model = nn.Sequential(conv_net)  # its forward argument is called input
    whole = TensorDataset(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
    ordered = DataLoader(whole, batch_size=6)
    pairs = list(ordered)
    one = find(model, METHODS[name], pairs, **options)
    named = [{"input": x, "labels": y} for x, y in pairs]
    assert same(one, find(model, METHODS[name], named, **options))
    assert same(one, find(model, METHODS[name], ordered, **options))
    shuffled = DataLoader(whole, batch_size=6, shuffle=True)
    one = find(model, METHODS[name], shuffled, **options)
    assert same(one, find(model, METHODS[name], shuffled, **options))


def test_a_density_that_keeps_nothing_is_refused_before_any_training(name, conv_net, batches):
    def loss(output, batch):
        raise AssertionError("it trains")

    with pytest.raises(UserError, match=r"density 1e-05 keeps 0 of 132 weights; between 1 and 132"):
        prune(conv_net, METHODS[name], batches, density=1e-5, recipe=recipe(), loss=loss)


def test_without_a_recipe_or_a_length_of_the_batches_it_is_refused(name, conv_net, batches):
    with pytest.raises(UserError, match="trains: give a recipe"):
        prune(conv_net, METHODS[name], batches, density=0.5)
    with pytest.raises(UserError, match="needs batches with a length: a list or a loader"):
        prune(conv_net, METHODS[name], iter(batches), density=0.5, recipe=recipe())


def test_a_loss_that_is_not_finite_is_refused(name, conv_net, batches):
    with pytest.raises(UserError, match=r"loss is nan|is NaN: the loss or its gradient"):
        prune(
            conv_net,
            METHODS[name],
            batches,
            density=0.5,
            recipe=recipe(),
            loss=lambda output, batch: (output * torch.nan).sum(),
        )


def test_unknown_settings_are_refused(name, conv_net, batches):
    with pytest.raises(UserError, match=r"settings\.nonsense: Extra inputs are not permitted"):
        prune(
            conv_net,
            METHODS[name],
            batches,
            density=0.5,
            recipe=recipe(),
            settings={"nonsense": 1},
        )


def test_says_where_it_is_from_and_what_it_costs(name):
    method = METHODS[name]
    assert method.kind in ("iterative", "search", "dynamic")
    assert method.paper and method.year > 2014 and method.cost
    method.settings()  # every hyperparameter has a default
