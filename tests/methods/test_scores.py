"""What all mask searches share: gradients of scores, what is frozen, and how much is kept when."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from autos.errors import UserError
from autos.grid.checks import shuffle
from autos.methods import METHODS, _scores
from autos.methods._scores import (
    Scored,
    ScoreTraining,
    decaying,
    fan_in,
    identity,
    signed_constant_,
    top_of_layers,
)
from autos.network.initialize import initialize
from autos.pruning import find
from autos.training.recipe import TrainConfig

SEARCHES = [name for name, method in METHODS.items() if method.kind == "search"]
RECIPE = TrainConfig(epochs=2, batch_size=6, optimizer="adam", lr=1e-3, schedule="cosine")


def loss_of(model, batch):
    return F.cross_entropy(model(batch[0].double()), batch[1])


# --- the gradient that scores get ---


@pytest.mark.parametrize(
    ("soft", "derivative"),
    [
        (identity, torch.ones_like),
        (torch.abs, torch.sign),
        (torch.sigmoid, lambda s: s.sigmoid() * (1 - s.sigmoid())),
    ],
)
def test_scores_get_the_gradient_of_the_masked_weight_times_the_weight(
    mlp, batches, soft, derivative
):
    mlp.double()
    weight = mlp.fc1.weight.detach().clone()
    keep = (torch.rand_like(weight) < 0.3).double()
    scored = Scored(torch.randn_like(weight), soft)
    scored.keep.copy_(keep)

    plain = copy.deepcopy(mlp)
    with torch.no_grad():
        plain.fc1.weight.mul_(keep)
    loss_of(plain, batches[0]).backward()
    parametrize.register_parametrization(mlp.fc1, "weight", scored)
    loss_of(mlp, batches[0]).backward()

    expected = plain.fc1.weight.grad * weight * derivative(scored.scores.detach())
    assert torch.equal(mlp.fc1.weight, plain.fc1.weight)
    torch.testing.assert_close(scored.scores.grad, expected, rtol=1e-12, atol=0)
    assert scored.scores.grad[keep == 0].abs().sum() > 0, "pruned weights must be able to return"


def test_the_penalty_is_the_sum_of_all_squared_scores_times_its_factor():
    class Nothing(_scores.Search):
        def choose(self, loop):
            return {}

    parts = {name: Scored(torch.randn(3, 4, dtype=torch.float64)) for name in "ab"}
    Nothing(parts, regularization=0.25).penalty(None).backward()
    for part in parts.values():
        torch.testing.assert_close(part.scores.grad, 0.5 * part.scores.detach())
    assert Nothing(parts).penalty(None) == 0


# --- what stays as it is ---


@pytest.mark.parametrize("name", SEARCHES)
def test_only_batch_statistics_change_and_the_state_is_an_ordinary_one(name, conv_net, batches):
    """Also where the model comes in eval mode; where weights are replaced it is before the search,
    so that one search and one of twice the length start training from the same weights."""
    with torch.no_grad():
        conv_net.conv2.bias.uniform_(-1, 1)
        conv_net.bn1.weight.uniform_(0.5, 2)
    conv_net.eval()
    short, long = (
        find(conv_net, METHODS[name], batches, density=0.5, recipe=RECIPE, settings={"epochs": n})
        for n in (2, 4)
    )
    own = conv_net.state_dict()
    assert short.start.keys() == long.start.keys() == own.keys()
    for key, tensor in short.start.items():
        where = (slice(None),)
        if key in short.mask.keep and short.trained:  # then pruned weights are zero
            where = short.mask.keep[key] & long.mask.keep[key]
        same = torch.equal(tensor[where], long.start[key][where]) if tensor.ndim else False
        assert same != ("running" in key or "num_batches" in key), key
        assert tensor.shape == own[key].shape and not tensor.requires_grad
    assert short.start["bn1.num_batches_tracked"] == 2 * len(batches)
    assert long.start["bn1.num_batches_tracked"] == 4 * len(batches)
    assert torch.equal(short.start["conv2.bias"], own["conv2.bias"])


@pytest.mark.parametrize("name", ["edge_popup", "gem_miner"])
def test_searches_at_initialisation_use_signed_constants_and_batch_norm_without_parameters(
    name, conv_net, batches
):
    with torch.no_grad():
        conv_net.bn1.weight.uniform_(0.5, 2)
        conv_net.bn1.bias.uniform_(0.5, 2)
    found = find(conv_net, METHODS[name], batches, density=0.25, recipe=RECIPE)
    scale = 0.25 if name == "edge_popup" else 1.0  # of the density, not of what is removed
    for key, fan in (("conv1.weight", 9), ("conv2.weight", 9), ("fc.weight", 8)):
        expected = (2 / (fan * scale)) ** 0.5 * conv_net.state_dict()[key].sign()
        torch.testing.assert_close(found.start[key], expected, rtol=1e-6, atol=0)
    assert found.start["bn1.weight"].eq(1).all() and found.start["bn1.bias"].eq(0).all()


def test_fan_in_is_that_of_one_output_also_where_weights_are_transposed():
    from transformers.pytorch_utils import Conv1D

    layers = nn.Sequential(
        nn.Conv2d(6, 4, (3, 5), groups=2), nn.Linear(7, 2), Conv1D(5, 11), nn.Linear(3, 3)
    )
    assert list(fan_in(layers).values()) == [3 * 15, 7, 11, 3]
    with torch.no_grad():
        layers[3].weight[0, 0] = 0
    signed_constant_(layers)
    assert layers[2].weight.abs().allclose(torch.tensor((2 / 11) ** 0.5))
    assert layers[3].weight[0, 0] > 0


def test_a_weight_that_layers_share_has_one_mask(batches):
    shared = nn.Linear(64, 64, bias=False)
    tied = nn.Linear(64, 64, bias=False)
    tied.weight = shared.weight
    model = initialize(
        nn.Sequential(nn.Flatten(), shared, nn.ReLU(), tied, nn.ReLU(), nn.Linear(64, 3)), seed=0
    )
    found = find(model, METHODS["edge_popup"], batches, density=0.5, recipe=RECIPE)
    assert list(found.mask.keep) == ["1.weight", "5.weight"]
    assert found.start.keys() == model.state_dict().keys()
    assert torch.equal(found.start["1.weight"], found.start["3.weight"])


@pytest.mark.parametrize("name", SEARCHES)
def test_a_density_that_keeps_nothing_is_refused_before_any_batch_is_read(name, mlp):
    class Unread(list):
        def __iter__(self):
            raise AssertionError("read")

    with pytest.raises(UserError, match=r"density 1e-05 keeps 0 of 804 weights"):
        find(mlp, METHODS[name], Unread([1]), density=1e-5, recipe=RECIPE)


# --- how much is kept when ---


def test_cuts_leave_equal_shares_and_the_last_comes_a_period_before_the_end():
    """29 cuts in 150 epochs are one after every 5, as the authors of Gem-Miner have them."""
    densities = [decaying(0.0144, 29, SimpleNamespace(step=e, steps=150)) for e in range(151)]
    assert densities[:5] == [1.0] * 5
    for epoch, density in enumerate(densities):
        assert density == pytest.approx(0.0144 ** (min(epoch // 5, 29) / 29), rel=1e-12)
    assert densities[144] > densities[145] == densities[150] == 0.0144


def test_a_training_with_fewer_steps_than_cuts_makes_several_at_once():
    densities = [decaying(0.1, 29, SimpleNamespace(step=s, steps=3)) for s in range(4)]
    assert densities == pytest.approx([1, 0.1 ** (10 / 29), 0.1 ** (20 / 29), 0.1])


def test_layers_keep_their_counts_among_equal_scores_the_first():
    scores = {"a": torch.tensor([[2.0, 1.0], [1.0, 1.0]]), "b": torch.zeros(5), "c": torch.ones(2)}
    masks = top_of_layers(scores, {"a": 2, "b": 0, "c": 2})
    assert masks["a"].tolist() == [[True, True], [False, False]]
    assert not masks["b"].any() and masks["c"].all()


def test_scores_are_trained_by_sgd_whatever_the_recipe_has():
    step_lr = TrainConfig(
        epochs=3, batch_size=6, optimizer="adam", lr=9, schedule="multistep", milestones=[1]
    )
    seen = TrainConfig.validated({**step_lr.model_dump(), **ScoreTraining().changes()}, "recipe")
    assert (seen.optimizer, seen.lr, seen.momentum, seen.epochs) == ("sgd", 0.1, 0.9, 3)
    assert (seen.schedule, seen.milestones, seen.weight_decay) == ("cosine", [], 0)
    constant = ScoreTraining(schedule="constant", epochs=7).changes()
    seen = TrainConfig.validated({**step_lr.model_dump(), **constant}, "recipe")
    assert (seen.schedule, seen.milestones, seen.epochs) == ("multistep", [], 7)


# --- that searching finds something ---


@torch.no_grad()
def accuracy(model, state, mask, batches):
    model.load_state_dict(state)
    mask.apply_(model)
    model.eval()
    correct = [(model(inputs).argmax(dim=1) == labels) for inputs, labels in batches]
    return float(torch.cat(correct).float().mean())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("supermask", {}),
        ("supermask", {"signed_constant": True, "dynamic_scaling": True}),
        ("edge_popup", {}),
        ("edge_popup", {"scope": "global", "gradual": True, "regularization": 1e-4}),
        ("gem_miner", {}),
        ("jackpot", {"warm_start": "random"}),
    ],
)
def test_the_masked_untrained_network_beats_its_shuffled_masks(epoch, name, settings):
    """Without BatchNorm, whose statistics would be wrong under shuffled masks."""
    layers = [nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)]
    model = initialize(nn.Sequential(*layers), seed=0)
    settings = {"epochs": 30, **settings}
    found = find(model, METHODS[name], epoch, density=0.3, recipe=RECIPE, settings=settings)
    # What is trained has zeros where it is pruned.
    weights = copy.deepcopy(model.state_dict()) if found.trained else found.start
    generator = torch.Generator().manual_seed(0)
    at_random = [accuracy(model, weights, shuffle(found.mask, generator), epoch) for _ in range(5)]
    assert accuracy(model, found.start, found.mask, epoch) > max(at_random) + 0.3
