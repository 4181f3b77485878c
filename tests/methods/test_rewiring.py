"""The parts that dynamic sparse training is made of, and what all its methods promise."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autos.compute import Hardware
from autos.errors import UserError
from autos.masks import allocation
from autos.methods import METHODS
from autos.methods._rewiring import (
    ConstantDensity,
    due,
    ends_epoch,
    largest,
    pick,
    random_mask,
    rewire_,
    smallest,
)
from autos.methods.base import Context
from autos.network.prunable import prunable
from autos.pruning import find
from autos.training.loop import accuracy
from autos.training.recipe import TrainConfig

DYNAMIC = [name for name, method in METHODS.items() if method.kind == "dynamic"]
CPU = Hardware(accelerator="cpu")
CONSTANT = {  # which counts stay the same: those of every layer, or only their sum
    "set": list,
    "rigl": list,
    "deep_r": list,
    "dsr": sum,
    "snfs": sum,
}


def test_all_eight_are_there():
    assert DYNAMIC == ["dns", "deep_r", "set", "dsr", "snfs", "rigl", "ac_dc", "granet"]
    assert {*CONSTANT, "dns", "ac_dc", "granet"} == set(DYNAMIC)


values = st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=12)


@settings(max_examples=40)
@given(values, st.data())
def test_smallest_and_largest_are_exact_and_take_the_first_of_equal_ones(pairs, data):
    scores = torch.tensor([float(score) for score, _ in pairs])
    among = torch.tensor([candidate for _, candidate in pairs])
    count = data.draw(st.integers(0, int(among.sum())))
    for function, sign in ((smallest, 1), (largest, -1)):
        candidates = [i for i, (_, candidate) in enumerate(pairs) if candidate]
        expected = sorted(candidates, key=lambda i: (sign * pairs[i][0], i))[:count]
        chosen = function(scores.view(1, -1), among.view(1, -1), count)
        assert chosen.shape == (1, len(pairs))
        assert chosen.flatten().nonzero().flatten().tolist() == sorted(expected)


def test_selection_is_the_same_in_any_memory_format():
    scores = torch.randint(3, (4, 3, 3, 3)).float()
    among = torch.rand(4, 3, 3, 3) < 0.7
    last = scores.to(memory_format=torch.channels_last)
    assert torch.equal(smallest(scores, among, 20), smallest(last, among, 20))


def test_nan_is_never_chosen_outside_the_candidates():
    among = torch.tensor([True, True, False, False])
    chosen = smallest(torch.tensor([torch.nan, 1, 0, torch.nan]), among, 2)
    assert chosen.tolist() == among.tolist()


def test_pick_is_uniform_over_the_candidates_and_follows_its_generator():
    among = torch.tensor([[True, False, True], [True, True, False]])
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(2, 3)
    for _ in range(2000):
        chosen = pick(among, 2, generator)
        assert int(chosen.sum()) == 2
        counts += chosen
    assert bool((counts[~among] == 0).all())
    # 1000 of 2000 each; the standard deviation is 22.
    assert bool(((counts[among] - 1000).abs() < 100).all())
    one, two = (pick(among, 2, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_what_is_dropped_or_grown_begins_anew_and_nothing_else_changes(toy, kind):
    keep = torch.tensor([[1, 1, 0], [0, 1, 0]])
    loop = toy({"a": torch.randn(2, 3)}, {"a": keep}, optimizer=kind)
    weight = loop.weights["a.weight"]
    before = weight.detach().clone()
    memory = {k: v.clone() for k, v in loop.optimizer.state[weight].items() if v.shape == (2, 3)}
    assert len(memory) == {"sgd": 1, "adam": 2}[kind]
    dropped = torch.tensor([[True, True, False], [False, False, False]])
    grown = torch.tensor([[False, True, True], [False, False, False]])  # one was just dropped
    rewire_(loop, "a.weight", dropped=dropped, grown=grown)
    assert loop.keep["a.weight"].tolist() == [[0, 1, 1], [0, 1, 0]]
    changed = dropped | grown
    for now, old in [(weight, before)] + [
        (loop.optimizer.state[weight][key], value) for key, value in memory.items()
    ]:
        assert bool((old[changed & (keep > 0)] != 0).all())
        assert torch.equal(now, old.masked_fill(changed, 0))


def test_a_changed_number_of_weights_is_noticed(toy):
    per_layer, in_all = ConstantDensity(True), ConstantDensity(False)
    loop = toy({"a": torch.ones(2, 2), "b": torch.ones(2, 2)}, {"a": [[1, 0], [0, 1]]})
    for watch in (per_layer, in_all):
        watch.on_start(loop)
        watch.after_step(loop)
    loop.keep["a.weight"][0, 1] = 1
    loop.keep["b.weight"][0, 0] = 0
    in_all.after_step(loop)
    with pytest.raises(AssertionError, match=r"after step 0: \[3, 3\]"):
        per_layer.after_step(loop)
    loop.keep["b.weight"][0, 1] = 0
    with pytest.raises(AssertionError, match=r"after step 0: \[5\]"):
        in_all.after_step(loop)


def test_updates_are_due_every_interval_or_epoch_before_the_end(toy):
    loop = toy({"a": [[1.0]]}, steps=40, steps_per_epoch=10)

    def steps(rule):
        found = []
        for loop.step in range(41):
            if rule():
                found.append(loop.step)
        return found

    assert steps(lambda: due(loop, 7, 0.75)) == [7, 14, 21, 28]
    assert steps(lambda: due(loop, 100, 0.75)) == [10, 20]  # not 30, which is the end
    assert steps(lambda: due(loop, 100, 1)) == [10, 20, 30]
    assert steps(lambda: loop.step > 0 and ends_epoch(loop)) == [10, 20, 30]


@pytest.mark.parametrize("allocate", [allocation.uniform, allocation.er, allocation.erk])
def test_the_first_mask_is_random_with_the_counts_of_its_allocation(conv_net, epoch, allocate):
    def mask(seed):
        context = Context(epoch, 0.4, torch.Generator().manual_seed(seed))
        return random_mask(conv_net, context, allocate)

    one = mask(0)
    shapes = {name: w.shape for name, w in prunable(conv_net).items()}
    assert {n: int(k.sum()) for n, k in one.keep.items()} == allocate(shapes, one.kept)
    assert one.kept == round(0.4 * one.total)
    assert all(torch.equal(k, mask(0).keep[n]) for n, k in one.keep.items())
    assert any(not torch.equal(k, mask(1).keep[n]) for n, k in one.keep.items())


@pytest.mark.parametrize("name", CONSTANT)
def test_the_number_of_weights_is_the_same_after_every_step(conv_net, watched, optimizer, name):
    _, moments = watched(conv_net, METHODS[name], optimizer)
    assert len(moments) == 21
    counts = [CONSTANT[name](moment.counts) for moment in moments]
    assert counts == [counts[0]] * 21
    moved = [any((a.keep[n] != b.keep[n]).any() for n in a.keep) for a, b in pairwise(moments)]
    assert any(moved)
    assert name == "deep_r" or not moved[-1]  # the others grow nothing that is never trained


@pytest.mark.parametrize("name", CONSTANT)
def test_a_connection_that_changes_is_zero_and_forgotten_by_the_optimizer(
    mlp, watched, optimizer, name
):
    _, moments = watched(mlp, METHODS[name], optimizer)
    seen = 0
    for before, after in pairwise(moments):
        for layer, keep in after.keep.items():
            changed = keep != before.keep[layer]
            seen += int(changed.sum())
            assert len(after.memory[layer]) == (2 if optimizer["optimizer"] == "adam" else 1)
            assert all(bool((memory[changed] == 0).all()) for memory in after.memory[layer])
            weight = after.state[layer]
            assert bool((weight[changed & ~keep] == 0).all())
            if name != "set":  # which grows random values, as its own test shows
                assert bool((weight[changed & keep].abs() <= 1.001e-12).all())
    assert seen


@pytest.mark.parametrize("name", DYNAMIC)
def test_finds_a_trained_network_with_exactly_the_density(conv_net, epoch, optimizer, name):
    recipe = TrainConfig(epochs=2, batch_size=20, schedule="cosine", **optimizer)
    before = copy.deepcopy(conv_net.state_dict())

    def run(seed, density=0.3):
        options = {"density": density, "seed": seed, "recipe": recipe, "hardware": CPU}
        return find(conv_net, METHODS[name], epoch, **options)

    found = run(0)
    assert found.trained
    assert found.mask.kept == round(0.3 * found.mask.total)
    assert found.cost.forward == found.cost.backward == 2 * 75  # once by the recipe
    for layer, keep in found.mask.keep.items():
        assert bool((found.start[layer][~keep] == 0).all())
        assert not torch.equal(found.start[layer], before[layer] * keep)
    assert all(torch.equal(a, before[n]) for n, a in conv_net.state_dict().items())
    again = run(0)
    assert all(torch.equal(found.start[n], again.start[n]) for n in before)
    assert all(torch.equal(k, again.mask.keep[n]) for n, k in found.mask.keep.items())
    for density in (1e-2, 1.0):
        assert run(0, density).mask.kept == round(density * found.mask.total)
    other = run(1)
    assert name in ("dns", "ac_dc") or any(  # They begin with the dense network.
        not torch.equal(k, other.mask.keep[n]) for n, k in found.mask.keep.items()
    )


@pytest.mark.parametrize("name", DYNAMIC)
def test_learns_what_can_be_learned(mlp, epoch, images, name):
    recipe = TrainConfig(
        epochs=15, batch_size=20, optimizer="sgd", lr=0.05, momentum=0.9, schedule="cosine"
    )
    found = find(mlp, METHODS[name], epoch, density=0.2, recipe=recipe, hardware=CPU)
    mlp.load_state_dict(found.start)
    assert accuracy(mlp, images, images.test) > 0.9


@pytest.mark.parametrize("name", DYNAMIC)
def test_a_density_that_keeps_nothing_is_refused_before_any_training(mlp, epoch, name):
    recipe = TrainConfig(epochs=100_000, batch_size=20, optimizer="adam", lr=1, schedule="cosine")
    with pytest.raises(UserError, match=r"density 1e-05 keeps 0 of 804 weights; between 1 and 804"):
        find(mlp, METHODS[name], epoch, density=1e-5, recipe=recipe, hardware=CPU)


@pytest.mark.parametrize("name", DYNAMIC)
def test_a_loss_that_is_not_finite_ends_the_training_with_advice(mlp, epoch, name):
    recipe = TrainConfig(epochs=3, batch_size=20, optimizer="sgd", lr=1e6, schedule="cosine")
    with pytest.raises(UserError, match=r"training loss is|is NaN"):
        find(mlp, METHODS[name], epoch, density=0.5, recipe=recipe, hardware=CPU)


@pytest.mark.parametrize("name", DYNAMIC)
def test_a_layer_that_the_loss_does_not_reach_is_no_problem(epoch, name):
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(64, 3), nn.Linear(5, 5)

        def forward(self, x):
            return self.used(x.flatten(1))

    recipe = TrainConfig(epochs=3, batch_size=20, optimizer="sgd", lr=0.1, schedule="cosine")
    found = find(Network(), METHODS[name], epoch, density=0.5, recipe=recipe, hardware=CPU)
    assert found.mask.kept == round(0.5 * found.mask.total)
