"""Iterative rewind pruning: what every round starts from, takes away and counts."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch

from pipeline.compute import Hardware
from pipeline.criteria import CRITERIA
from pipeline.executor import run
from pipeline.gradients import mean_gradient
from pipeline.images import ScoringConfig
from pipeline.irp import IRP_CRITERIA, SourceConfig, next_round, units
from pipeline.masks import Mask
from pipeline.method import Context
from pipeline.prunable import prunable
from pipeline.pruning import prune
from pipeline.recipes import TrainConfig
from pipeline.selection import keep_top
from pipeline.survival import read_survival, write_survival
from pipeline.training import fit
from stages.irp import assemble

RECIPE = TrainConfig(
    epochs=1, batch_size=25, optimizer="sgd", lr=0.2, momentum=0.9, schedule="multistep"
)
CPU = Hardware(accelerator="cpu")


@pytest.fixture
def trained(images):
    """Trains for real, and remembers every network before and after."""

    class Training:
        def __init__(self):
            self.before, self.after = [], []

        def __call__(self, model, mask):
            self.before.append(copy.deepcopy(model.state_dict()))
            history = fit(model, images, RECIPE, seed=0, mask=mask, hardware=CPU)
            self.after.append(copy.deepcopy(model))
            return history

    return Training()


def nested(before, after):
    return not any((after.keep[name] & ~before.keep[name]).any() for name in after.keep)


# --- one round ---


def test_the_criterion_sees_the_trained_weights(conv_net, batches, trained):
    dense = Mask.dense(conv_net)
    magnitude = CRITERIA["magnitude"]
    mask, history = next_round(
        conv_net, dense, train=trained, criterion=magnitude, batches=batches, density=0.5
    )
    scores = {name: weight.abs() for name, weight in prunable(trained.after[0]).items()}
    expected = keep_top(scores, 0.5, dense)
    untrained = prune(conv_net, magnitude, batches, density=0.5)
    assert all(torch.equal(mask.keep[name], expected.keep[name]) for name in mask.keep)
    assert any(not torch.equal(mask.keep[name], untrained.keep[name]) for name in mask.keep)
    assert len(history.train_loss) == 1


def test_one_round_without_training_is_one_shot_snip(conv_net, batches):
    mask, _ = next_round(
        conv_net,
        Mask.dense(conv_net),
        train=lambda model, mask: None,
        criterion=CRITERIA["snip"],
        batches=batches,
        density=0.3,
    )
    expected = prune(conv_net, CRITERIA["snip"], batches, density=0.3)
    assert all(torch.equal(mask.keep[name], expected.keep[name]) for name in mask.keep)


def test_every_round_trains_from_the_initial_state_under_its_mask(conv_net, batches, trained):
    initial = copy.deepcopy(conv_net.state_dict())
    masks = [Mask.dense(conv_net)]
    for density in (0.7, 0.4, 0.1):
        mask, _ = next_round(
            conv_net,
            masks[-1],
            train=trained,
            criterion=CRITERIA["snip"],
            batches=batches,
            density=density,
        )
        assert mask.kept == round(density * mask.total)
        assert nested(masks[-1], mask)
        masks.append(mask)
    # Training moved all there is: weights, biases, normalisation, and its running statistics...
    for model in trained.after:
        for name, tensor in model.state_dict().items():
            assert not torch.equal(tensor, initial[name]), name
    # ...and nothing of that reached the next round.
    for mask, start in zip(masks, trained.before, strict=False):
        for name, tensor in start.items():
            expected = initial[name] * mask.keep[name] if name in mask.keep else initial[name]
            assert torch.equal(tensor, expected), name
    for name, tensor in conv_net.state_dict().items():
        assert torch.equal(tensor, initial[name]), name


def test_pruned_weights_stay_pruned_where_survivors_score_zero_too(mlp, batches):
    with torch.no_grad():
        mlp.fc1.bias[:6] = -100  # dead units: no gradient reaches their 64 weights each
    scores = CRITERIA["snip"].score(mlp, Context(batches, 0.8, torch.Generator()))
    assert not scores["fc1.weight"][:6].any()
    mask = Mask.dense(mlp)
    mask.keep["fc1.weight"][0] = False  # in front of all others that score zero
    after, _ = next_round(
        mlp,
        mask,
        train=lambda model, mask: None,
        criterion=CRITERIA["snip"],
        batches=batches,
        density=0.8,
    )
    assert after.kept == round(0.8 * 804)
    assert nested(mask, after)
    assert all(bool(after.keep[name][score > 0].all()) for name, score in scores.items())


# --- all rounds, as the stage runs them ---


def source(**changes):
    settings = {
        "architecture": "resnet_20",
        "width": 0.125,
        "images": "tiny",
        "criterion": "snip",
        "rounds": 4,
        "final_density": 0.05,
        "scoring": ScoringConfig(per_class=5, batch_size=15, batch_norm="train"),
        "train": RECIPE,
        "seed": 3,
    }
    return SourceConfig(**settings | changes)


@pytest.fixture(scope="module")
def finished(image_store, tmp_path_factory):
    """A source, its finished units, and the network they are about, from the stored dataset."""
    folder = tmp_path_factory.mktemp("irp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.units.WORK", folder / ".work")
        chain = units("tiny", source(), image_store, CPU)
        assert [reused for _, reused in run([chain], workers=1)] == [False] * 5
        write_survival(folder / "survival.zarr", {"tiny": assemble(source(), chain)})
        results = [unit.result() for unit in chain]
    return results, read_survival(folder / "survival.zarr")["tiny"]


def test_masks_are_nested_and_reach_every_density_exactly(finished):
    (_, *rounds), network = finished
    masks = [Mask(result.tensors) for result in rounds]
    total = len(network.weight)
    assert source().densities == pytest.approx([0.7625, 0.525, 0.2875, 0.05])
    for mask, density, result in zip(masks, source().densities, rounds, strict=True):
        assert mask.kept == round(density * total)
        assert result.about["density"] == mask.kept / total
    assert all(nested(before, after) for before, after in pairwise(masks))


def test_every_round_repeats_from_the_initial_network_and_the_mask_before(finished, images):
    (_, *rounds), _ = finished
    mask = Mask.dense(source().build(images, seed=3))
    for result, density in zip(rounds[:2], source().densities, strict=False):
        model = source().build(images, seed=3)
        history = fit(model, images, RECIPE, seed=3, mask=mask, hardware=CPU)
        gradient = mean_gradient(model.train(), source().scoring.batches(images, seed=3))
        scores = {n: (w * gradient[n]).abs().detach() for n, w in prunable(model).items()}
        mask = keep_top(scores, density, within=mask)
        for name, keep in mask.keep.items():
            assert torch.equal(result.tensors[name], keep), name
        assert result.about["train_loss"] == history.train_loss


def test_survival_counts_are_the_differences_of_the_densities(finished):
    _, network = finished
    total = len(network.weight)
    kept = [total, *(round(density * total) for density in network.about["densities"]), 0]
    expected = [before - after for before, after in pairwise(kept)]
    assert np.bincount(network.survival, minlength=5).tolist() == expected
    assert network.rounds == 4 and network.survival.dtype == np.uint16


def test_survival_is_the_sum_of_the_masks_in_the_order_of_the_layers(finished):
    (_, *rounds), network = finished
    for layer in network.about["layers"]:
        size = int(np.prod(layer["shape"]))
        part = network.survival[layer["offset"] : layer["offset"] + size].reshape(layer["shape"])
        expected = sum(result.tensors[layer["name"]].int() for result in rounds)
        np.testing.assert_array_equal(part, expected.numpy())
    assert sum(np.prod(layer["shape"]) for layer in network.about["layers"]) == len(network.weight)


def test_the_stored_source_builds_the_same_weights_and_gradient_again(finished, images):
    _, network = finished
    again = SourceConfig(**network.about["source"])
    assert again == source()
    model = again.build(images, seed=again.seed)
    weights = prunable(model)
    gradient = mean_gradient(model.train(), again.scoring.batches(images, seed=again.seed))
    assert [layer["name"] for layer in network.about["layers"]] == list(weights)
    for array, values in ((network.weight, weights), (network.gradient, gradient)):
        joined = torch.cat([value.detach().flatten() for value in values.values()])
        np.testing.assert_array_equal(array, joined.numpy())
    assert network.gradient.any()


def test_finished_rounds_are_used_again_and_unfinished_ones_computed(
    image_store, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.units.WORK", tmp_path)
    tiny = source(architecture="lenet_300_100", width=0.02, rounds=3)
    chain = units("tiny", tiny, image_store, CPU)
    work = run([chain], workers=1)
    assert [next(work)[1] for _ in range(3)] == [False] * 3
    work.close()
    first = [unit.path.read_bytes() for unit in chain[:3]]
    chain = units("tiny", tiny, image_store, CPU)
    assert [reused for _, reused in run([chain], workers=1)] == [True] * 3 + [False]
    assert [unit.path.read_bytes() for unit in chain[:3]] == first


def test_a_source_may_only_use_criteria_that_make_sense_after_training():
    with pytest.raises(ValueError, match="unknown IRP criterion 'synflow'"):
        source(criterion="synflow")
    with pytest.raises(ValueError, match=r"unknown schedule 'expo.*did you mean 'exponential'"):
        source(schedule="exponentially")


@pytest.mark.parametrize("criterion", IRP_CRITERIA)
def test_a_repetition_begins_with_the_same_weights_and_ends_with_other_scores(
    criterion, image_store, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.units.WORK", tmp_path)
    few = {"rounds": 2, "criterion": criterion, "architecture": "lenet_300_100", "width": 0.1}
    networks = {}
    for name, changes in (("one", {}), ("again", {}), ("two", {"repetition": 1})):
        chain = units(name, source(**few, **changes), image_store, CPU)
        assert len(list(run([chain], workers=1))) == 3
        networks[name] = assemble(source(**few, **changes), chain)
    one, again, two = networks.values()
    assert (one.weight == two.weight).all() and (one.gradient == two.gradient).all()
    assert (one.survival == again.survival).all()
    assert (one.survival != two.survival).any()


# --- the gradient ---


def test_seeing_the_same_images_twice_changes_the_sum_but_not_the_mean_gradient(mlp, batches):
    inputs = torch.cat([x for x, _ in batches])
    labels = torch.cat([y for _, y in batches])
    once, twice = mean_gradient(mlp, batches), mean_gradient(mlp, batches * 2)
    total = torch.nn.functional.cross_entropy(mlp(inputs), labels, reduction="sum")
    sums = torch.autograd.grad(total, list(prunable(mlp).values()))
    for (name, mean), sum_ in zip(once.items(), sums, strict=True):
        torch.testing.assert_close(twice[name], mean)
        torch.testing.assert_close(sum_, 15 * mean)
