"""IMP and its relatives: what every cycle starts from, prunes and leaves."""

import copy
import math
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch

from autos.compute import Hardware
from autos.errors import UserError
from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods import METHODS
from autos.methods.base import Context
from autos.network.batches import cross_entropy
from autos.training.budget import Budget
from autos.training.callbacks import Callback
from autos.training.recipe import TrainConfig

NAMES = ["imp", "imp_rewinding", "lr_rewinding", "one_shot", "short_cycle_imp"]
LR = 0.08


@dataclass
class Training(Callback):
    """One training: what it began and ended with, and what it did in between."""

    before: dict
    mask: Mask | None
    rates: list = field(default_factory=list)
    seen: list = field(default_factory=list)
    after: dict = field(default_factory=dict)

    def before_step(self, loop):
        self.rates.append(loop.optimizer.param_groups[0]["lr"])


@dataclass(frozen=True)
class Recorded(Budget):
    """Trains for real, and keeps a record of every training."""

    trainings: list = field(default_factory=list)

    def train(self, model, *, mask=None, **options):
        training = Training(copy.deepcopy(model.state_dict()), mask)
        self.trainings.append(training)
        super().train(model, mask=mask, callbacks=[training], **options)
        training.after = copy.deepcopy(model.state_dict())


@pytest.fixture
def run(images):
    """Runs a method on 2 epochs of 4 batches: what it finds, and its trainings."""
    pixels = images.normalize(images.train.images)
    epoch = list(zip(pixels.split(20), images.train.labels.split(20), strict=True))
    recipe = TrainConfig(
        epochs=2,
        batch_size=20,
        optimizer="sgd",
        lr=LR,
        momentum=0.9,
        weight_decay=1e-2,
        schedule="cosine",
    )

    def loss(output, batch):
        number = next(n for n, (_, labels) in enumerate(epoch) if labels is batch[1])
        budget.trainings[-1].seen.append(number)
        return cross_entropy(output, batch)

    budget = Recorded(recipe, epoch, loss, 0, Hardware(accelerator="cpu"))

    def find(name, model, density=0.3, **settings):
        method = METHODS[name]
        context = Context(
            epoch,
            density,
            torch.Generator(),
            settings=method.settings(**settings),
            budget=budget,
        )
        budget.trainings.clear()
        return method.find(model, context), list(budget.trainings)

    return find


def cosine(*steps):
    return [pytest.approx(LR * (1 + math.cos(math.pi * step / 8)) / 2) for step in steps]


def largest(state, density, within):
    """The mask of the largest magnitudes in a state."""
    return keep_top({name: state[name].abs() for name in within.keep}, density, within)


def equal(one, two):
    return all(torch.equal(one.keep[name], two.keep[name]) for name in one.keep)


def masked(state, mask):
    """A state with the pruned weights 0."""
    return {
        name: tensor * mask.keep[name] if name in mask.keep else tensor
        for name, tensor in state.items()
    }


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in (one | two))


def nested(masks):
    return all(
        not any((after.keep[n] & ~before.keep[n]).any() for n in after.keep)
        for before, after in pairwise(masks)
    )


@pytest.mark.parametrize(("density", "rounds"), [(0.8, 1), (0.64, 2), (0.512, 3), (0.5, 4)])
def test_imp_prunes_a_fifth_of_the_rest_in_every_round_and_ends_at_the_density(
    mlp, run, density, rounds
):
    found, trainings = run("imp", mlp, density)
    masks = [*(training.mask for training in trainings), found.mask]
    kept = [round(0.8**t * 804) for t in range(rounds)]
    assert [mask.kept for mask in masks] == [*kept, round(density * 804)]
    assert nested(masks)


@pytest.mark.parametrize(("sparsity", "cost"), [(0.68, 6), (0.84, 9), (0.92, 12), (0.96, 15)])
def test_imp_takes_as_many_trainings_as_the_paper_counts(mlp, run, sparsity, cost):
    _, trainings = run("imp", mlp, 1 - sparsity)  # table 1 of the paper on pre-trained networks
    assert len(trainings) == cost


def test_every_round_of_imp_starts_with_the_initial_network_and_prunes_the_trained_one(
    conv_net, run
):
    initial = copy.deepcopy(conv_net.state_dict())
    found, trainings = run("imp", conv_net, 0.5)
    masks = [*(training.mask for training in trainings[1:]), found.mask]
    for training, after in zip(trainings, masks, strict=True):
        assert same(training.before, initial)  # bitwise, BatchNorm and biases included
        assert not any(torch.equal(training.after[name], t) for name, t in initial.items())
        assert equal(after, largest(training.after, after.density, training.mask))
        assert training.rates == cosine(*range(8)) and training.seen == [0, 1, 2, 3] * 2
    assert found.start is None and found.step == 0 and not found.trained


def test_one_shot_is_one_training_and_one_cut(conv_net, run):
    found, (training,) = run("one_shot", conv_net, 0.1)
    assert same(training.before, conv_net.state_dict())
    assert training.mask.density == 1 and len(training.rates) == 8
    assert equal(found.mask, largest(training.after, 0.1, training.mask))
    assert found.start is None and not found.trained


@pytest.mark.parametrize(("rewind_to", "step"), [(0.016, 1), (0.25, 2), (0.7, 6)])
def test_rewinding_resumes_weights_learning_rate_and_batches_at_step_k(
    conv_net, run, rewind_to, step
):
    initial = copy.deepcopy(conv_net.state_dict())
    found, (warm_up, *rounds) = run("imp_rewinding", conv_net, 0.5, rewind_to=rewind_to)
    order = [0, 1, 2, 3] * 2
    assert same(warm_up.before, initial)
    assert warm_up.rates == cosine(*range(step)) and warm_up.seen == order[:step]
    masks = [*(training.mask for training in rounds), found.mask]
    assert [mask.kept for mask in masks] == [132, 106, 84, 68, 66] and nested(masks)
    for training, after in zip(rounds, masks[1:], strict=True):
        assert same(training.before, warm_up.after)
        assert training.rates == cosine(*range(step, 8)) and training.seen == order[step:]
        assert equal(after, largest(training.after, after.density, training.mask))
    assert same(found.start, warm_up.after) and not same(found.start, initial)
    assert found.step == step and not found.trained


def test_learning_rate_rewinding_keeps_the_weights_and_nothing_else(conv_net, run):
    found, trainings = run("lr_rewinding", conv_net, 0.5)
    masks = [*(training.mask for training in trainings), found.mask]
    assert [mask.kept for mask in masks] == [132, 106, 84, 68, 66] and nested(masks)
    assert same(trainings[0].before, conv_net.state_dict())
    for before, after in pairwise(trainings):
        assert same(after.before, before.after)
    for training, after in zip(trainings, masks[1:], strict=True):
        assert training.rates == cosine(*range(8)) and training.seen == [0, 1, 2, 3] * 2
        assert same(masked(training.after, training.mask), training.after)
        assert equal(after, largest(training.after, after.density, training.mask))
    assert same(found.start, trainings[-1].after)
    assert found.step == 0 and not found.trained


@pytest.mark.parametrize("density", [0.5, 0.2, 0.1])
def test_short_cycles_share_one_training(conv_net, run, density):
    initial = copy.deepcopy(conv_net.state_dict())
    found, trainings = run("short_cycle_imp", conv_net, density)
    assert len(trainings) == math.ceil(math.log(density) / math.log(0.8))
    assert [number for training in trainings for number in training.seen] == [0, 1, 2, 3] * 2
    lengths = [len(training.rates) for training in trainings]
    assert sum(lengths) == 8 and max(lengths) - min(lengths) <= 1
    assert {rate for training in trainings for rate in training.rates} == {LR * 10**0.5}
    masks = [*(training.mask for training in trainings), found.mask]
    assert nested(masks) and found.mask.kept == round(density * 132)
    for training, after in zip(trainings, masks[1:], strict=True):
        assert same(training.before, initial)
        assert equal(after, largest(training.after, after.density, training.mask))
    assert found.start is None and not found.trained


@pytest.mark.parametrize("name", ["imp", "imp_rewinding", "lr_rewinding", "short_cycle_imp"])
def test_the_pruned_share_is_a_setting(mlp, run, name):
    found, trainings = run(name, mlp, 0.2, pruned=0.5)
    kept = [training.mask.kept for training in trainings if training.mask]
    assert [*kept, found.mask.kept] == [804, 402, 201, 161]


@pytest.mark.parametrize("name", NAMES)
def test_everything_is_kept_without_a_cut(mlp, run, name):
    found, trainings = run(name, mlp, 1)
    assert found.mask.density == 1
    assert len(trainings) == (name in ("imp_rewinding", "one_shot"))


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("imp", {"pruned": 1}, r"pruned: Input should be less than 1"),
        ("imp_rewinding", {"rewind_to": 0}, r"rewind_to: Input should be greater than 0"),
        ("short_cycle_imp", {"lr_factor": -1}, r"lr_factor: Input should be greater than 0"),
        ("one_shot", {"pruned": 0.2}, r"pruned: Extra inputs are not permitted"),
    ],
)
def test_wrong_settings_are_refused(name, settings, problem):
    with pytest.raises(UserError, match=rf"settings\.{problem}"):
        METHODS[name].settings.validated(settings, "settings")
