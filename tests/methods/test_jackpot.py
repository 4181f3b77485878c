"""Lottery jackpots: where they start, and what stays as it is while the mask is searched."""

import pytest
import torch
from torch import nn

from autos.compute import Hardware
from autos.methods.base import Context
from autos.methods.jackpot import METHOD, Jackpot, Settings, magnitude_mask
from autos.network.batches import cross_entropy
from autos.network.initialize import initialize
from autos.pruning import find
from autos.training.budget import Budget
from autos.training.recipe import TrainConfig

RECIPE = TrainConfig(epochs=4, batch_size=6, optimizer="adam", lr=1e-3, schedule="cosine")


def context(batches, density, **settings):
    generator = torch.Generator().manual_seed(0)
    return Context(batches, density, generator, settings=Settings(**settings))


@pytest.fixture
def trained(conv_net, batches):
    """As a network is that has been trained elsewhere, BatchNorm included."""
    with torch.no_grad():
        conv_net.bn1.weight.uniform_(0.5, 2)
        conv_net.bn1.bias.uniform_(-1, 1)
        conv_net.conv2.bias.uniform_(-1, 1)
    return conv_net


class Recorded(Jackpot):
    """Keeps the masks of all steps."""

    def on_start(self, loop):
        super().on_start(loop)
        self.masks = [*getattr(self, "masks", []), self.mask]


def searched(model, batches, **settings):
    asked = context(batches, 0.5, **settings)
    jackpot = Recorded(model, asked)
    budget = Budget(RECIPE, batches, cross_entropy, 0, Hardware())
    jackpot.train(model, budget, asked.settings)
    return jackpot


def test_the_last_layer_stays_dense_and_the_others_share_a_threshold(trained):
    mask = magnitude_mask(trained, 0.5)
    assert mask.kept == 66 and mask.keep["fc.weight"].all()
    convolutions = ("conv1.weight", "conv2.weight")
    weights = trained.state_dict()
    magnitudes = torch.cat([weights[name].abs().flatten() for name in convolutions])
    keep = torch.cat([mask.keep[name].flatten() for name in convolutions])
    assert int(keep.sum()) == 66 - 24
    assert magnitudes[keep].min() > magnitudes[~keep].max()


@pytest.mark.parametrize(("kept", "dense"), [(48, True), (47, False)])
def test_the_last_layer_is_pruned_if_the_others_would_keep_less_than_it_has(trained, kept, dense):
    mask = magnitude_mask(trained, kept / 132)
    assert mask.kept == kept and bool(mask.keep["fc.weight"].all()) == dense


def test_the_warm_start_is_the_magnitude_mask(trained, batches):
    jackpot = searched(trained, batches)
    magnitude = magnitude_mask(trained, 0.5)
    for name, keep in magnitude.keep.items():
        assert torch.equal(jackpot.masks[0].keep[name], keep)
    fresh = Jackpot(trained, context([], 0.5))
    for name, scores in fresh.scores.items():
        assert torch.equal(scores, torch.where(magnitude.keep[name], 1.0, 0.95))


@pytest.mark.parametrize("warm_start", ["magnitude", "random"])
def test_layers_keep_the_same_counts_at_every_step_while_positions_change(
    trained, batches, warm_start
):
    jackpot = searched(trained, batches, warm_start=warm_start)
    assert len(jackpot.masks) == 1 + 4 * len(batches)
    densities = magnitude_mask(trained, 0.5).layer_densities()
    assert all(mask.layer_densities() == densities for mask in jackpot.masks)
    first, last = (jackpot.masks[index].keep["conv2.weight"] for index in (0, -1))
    assert not torch.equal(first, last)


def test_a_random_start_is_uniform_between_0_and_1(mlp):
    scores = Jackpot(mlp, context([], 0.5, warm_start="random")).scores["fc1.weight"]
    assert 0 <= scores.min() < 0.02 and 0.98 < scores.max() < 1


def test_nothing_but_batch_statistics_is_trained(trained, batches):
    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    found = find(trained, METHOD, batches, density=0.5, recipe=RECIPE)
    assert found.trained and found.mask.kept == 66
    for name, tensor in found.start.items():
        if "running" in name or "num_batches" in name:
            assert not torch.equal(tensor, before[name])
        elif name in found.mask.keep:
            assert torch.equal(tensor, before[name] * found.mask.keep[name])
        else:
            assert torch.equal(tensor, before[name])


def test_a_search_makes_more_of_trained_weights_than_magnitude_does(images, epoch):
    """The paper's claim, small: weights trained densely, 2 % of them kept, none trained again."""
    from autos.training.loop import accuracy, fit

    layers = [nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)]
    model = initialize(nn.Sequential(*layers), seed=0)
    recipe = TrainConfig(epochs=15, batch_size=20, optimizer="adam", lr=3e-3, schedule="cosine")
    fit(model, images, recipe, seed=0)
    found = find(model, METHOD, epoch, density=0.02, recipe=recipe)
    magnitude_mask(model, 0.02).apply_(model)
    magnitude = accuracy(model, images, images.train)
    model.load_state_dict(found.start)
    assert accuracy(model, images, images.train) > magnitude + 0.1
