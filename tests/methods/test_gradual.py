"""GMP and its like: when they cut, what, and what becomes of the training."""

import copy
from itertools import pairwise

import pytest
import torch

from autos.compute import Hardware
from autos.errors import UserError
from autos.masks.selection import keep_top
from autos.methods import METHODS
from autos.methods.base import Context
from autos.network.batches import cross_entropy
from autos.training.budget import Budget
from autos.training.callbacks import Callback
from autos.training.recipe import TrainConfig

NAMES = ["gmp", "gmp_bar", "platon"]
EPOCHS, STEPS = 5, 20


class Look(Callback):
    """What there is after each step, before and after the pruned weights are set to 0."""

    def __init__(self):
        self.rates, self.updated, self.keep, self.started = [], [], [], []

    def before_step(self, loop):
        self.rates.append(loop.optimizer.param_groups[0]["lr"])
        self.started.append({n: weight.detach().clone() for n, weight in loop.weights.items()})

    def after_step(self, loop):
        self.updated.append({n: weight.detach().clone() for n, weight in loop.weights.items()})
        self.keep.append({n: keep.bool() for n, keep in loop.keep.items()})

    @property
    def kept(self):
        return [sum(int(keep.sum()) for keep in masks.values()) for masks in self.keep]


class Watched(Budget):
    """Trains for real, and looks on."""

    def train(self, model, *, callbacks=(), **options):
        super().train(model, callbacks=[*callbacks, LOOKS[-1]], **options)


LOOKS = []


@pytest.fixture
def run(images):
    """Runs a method on 5 epochs of 4 batches: what it finds, and how."""
    pixels = images.normalize(images.train.images)
    epoch = list(zip(pixels.split(20), images.train.labels.split(20), strict=True))
    recipe = TrainConfig(
        epochs=EPOCHS, batch_size=20, optimizer="sgd", lr=0.1, momentum=0.9, schedule="multistep"
    )

    def find(name, model, density=0.2, **settings):
        method = METHODS[name]
        budget = Watched(recipe, epoch, cross_entropy, 0, Hardware(accelerator="cpu"))
        settings = method.settings(**settings)
        context = Context(epoch, density, torch.Generator(), settings=settings, budget=budget)
        LOOKS.append(Look())
        return method.find(model, context), LOOKS.pop()

    return find


def expected_counts(density, *, begin, end, period, total=132):
    """Zhu and Gupta's eq. 1, of sparsities, with s_i = 0 and t_0 = begin."""
    final = 1 - density
    counts, kept = [], total
    for step in range(1, end + 1):
        if step > begin and (step - begin) % period == 0:
            sparsity = final + (0 - final) * (1 - (step - begin) / (end - begin)) ** 3
            kept = round((1 - sparsity) * total)
        counts.append(kept)
    return counts


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("begin", "end", "period"), [(0, 20, 1), (4, 16, 3), (2, 10, 4), (6, 7, 1)]
)
def test_densities_follow_the_cubic_schedule_of_the_paper(conv_net, run, name, begin, end, period):
    settings = {"begin": begin / STEPS, "end": end / STEPS, "period": period}
    found, look = run(name, conv_net, **settings)
    counts = expected_counts(0.2, begin=begin, end=end, period=period)
    assert look.kept == counts
    assert found.mask.kept == counts[-1] == 26


@pytest.mark.parametrize("name", NAMES)
def test_a_period_that_does_not_fit_is_counted_from_the_end(conv_net, run, name):
    _, look = run(name, conv_net, begin=0.05, end=0.6, period=4)  # 1 to 12: cuts at 8 and 12
    first = round((0.2 + 0.8 / 8) * 132)
    assert look.kept == [132] * 7 + [first] * 4 + [26]


@pytest.mark.parametrize("name", NAMES)
def test_a_period_is_at_most_an_epoch_and_there_is_a_cut_in_the_shortest_training(
    conv_net, run, name
):
    _, look = run(name, conv_net, begin=0, end=0.6, period=1000)
    assert look.kept == expected_counts(0.2, begin=0, end=12, period=4)
    _, look = run(name, conv_net, begin=0, end=0.001, period=1000)
    assert look.kept == [26]


@pytest.mark.parametrize("name", ["gmp", "gmp_bar"])
def test_a_cut_takes_the_smallest_that_are_left_and_none_comes_back(conv_net, run, name):
    found, look = run(name, conv_net, begin=0, end=1, period=1)
    mask = None
    for updated, keep in zip(look.updated, look.keep, strict=True):
        kept = sum(int(k.sum()) for k in keep.values())
        among = found.mask.dense(conv_net) if mask is None else mask
        mask = keep_top({n: w.abs() for n, w in updated.items()}, kept / 132, among)
        assert all(torch.equal(mask.keep[n], keep[n]) for n in keep)
    for before, after in pairwise(look.keep):
        assert not any((after[n] & ~before[n]).any() for n in after)
    for keep, started in zip(look.keep, look.started[1:], strict=False):
        assert all(bool((started[n][~keep[n]] == 0).all()) for n in keep)
    assert all(torch.equal(found.mask.keep[n], keep) for n, keep in look.keep[-1].items())


@pytest.mark.parametrize(("name", "end"), [("gmp", 15), ("gmp_bar", 10), ("platon", 14)])
def test_by_default_the_mask_is_for_the_initialisation_and_training_ends_with_it(
    conv_net, run, name, end
):
    found, look = run(name, conv_net)
    assert len(look.rates) == end
    assert found.start is None and found.step == 0 and not found.trained


@pytest.mark.parametrize("name", NAMES)
def test_without_rewinding_the_sparse_network_is_trained_to_the_end(conv_net, run, name):
    before = copy.deepcopy(conv_net.state_dict())
    found, look = run(name, conv_net, rewind=False)
    rewound, _ = run(name, conv_net)
    assert len(look.rates) == STEPS and found.trained
    assert list(found.start) == list(before)
    for n, keep in found.mask.keep.items():
        assert torch.equal(keep, rewound.mask.keep[n])
        assert torch.equal(found.start[n] != 0, keep)
    for n, tensor in before.items():
        assert not torch.equal(found.start[n], tensor), n
        assert torch.equal(conv_net.state_dict()[n], tensor), n


@pytest.mark.parametrize(("name", "factor"), [("gmp", 1), ("gmp_bar", 10**0.5), ("platon", 1)])
def test_only_gmp_bar_has_a_larger_learning_rate(conv_net, run, name, factor):
    _, look = run(name, conv_net)
    assert set(look.rates) == {0.1 * factor}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"begin": 0.9}, r"settings: begin is below end, not 0\.9 with end"),
        ({"period": 0}, r"settings\.period: Input should be greater than 0"),
        ({"end": 1.5}, r"settings\.end: Input should be less than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused(name, settings, problem):
    with pytest.raises(UserError, match=problem):
        METHODS[name].settings.validated(settings, "settings")
