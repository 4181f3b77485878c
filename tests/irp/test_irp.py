"""Iterative rewind pruning: what every round starts from, takes away and counts."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch

from autos.compute import Hardware
from autos.errors import DamagedFileError
from autos.images.loaders import ScoringConfig
from autos.irp.config import SourceConfig
from autos.irp.rounds import irp, one_round
from autos.irp.survival import Survival, read_survival, write_survival
from autos.irp.work import SourceWork
from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods.base import Context
from autos.methods.criteria import CRITERIA
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable
from autos.pruning import prune
from autos.training.loop import fit
from autos.training.recipe import TrainConfig
from autos.work.executor import run

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
    mask, history = one_round(
        conv_net, dense, train=trained, criterion=magnitude, batches=batches, density=0.5
    )
    scores = {name: weight.abs() for name, weight in prunable(trained.after[0]).items()}
    expected = keep_top(scores, 0.5, dense)
    untrained = prune(conv_net, magnitude, batches, density=0.5)
    assert all(torch.equal(mask.keep[name], expected.keep[name]) for name in mask.keep)
    assert any(not torch.equal(mask.keep[name], untrained.keep[name]) for name in mask.keep)
    assert len(history.train_loss) == 1


def test_one_round_without_training_is_one_shot_snip(conv_net, batches):
    mask, _ = one_round(
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
        mask, _ = one_round(
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


def test_pruned_weights_stay_pruned_where_survivors_score_zero_too(mlp, batches, cut):
    with torch.no_grad():
        mlp.fc1.bias[:6] = -100  # dead units: no gradient reaches their 64 weights each
    scores = CRITERIA["snip"].score(mlp, Context(batches, 0.8, torch.Generator()))
    assert not scores["fc1.weight"][:6].any()
    mask = cut(Mask.dense(mlp), "fc1.weight", 0)  # in front of all others that score zero
    after, _ = one_round(
        mlp,
        mask,
        train=lambda model, mask: None,
        criterion=CRITERIA["snip"],
        batches=batches,
        density=0.8,
    )
    assert mask.kept == 804 - 64 and after.kept == round(0.8 * 804)
    assert nested(mask, after) and not after.keep["fc1.weight"][0].any()
    assert all(bool(after.keep[name][score > 0].all()) for name, score in scores.items())


def test_a_criterion_is_asked_as_everywhere_else(conv_net, batches):
    """GraSP says that it scores with the statistics of the batch, whatever mode training left."""
    grasp = CRITERIA["grasp"]
    assert grasp.batch_norm == "train"
    dense = Mask.dense(conv_net)

    def mask(mode):
        def train(model, _):
            model.train(mode == "train")

        options = {"criterion": grasp, "batches": batches, "density": 0.4}
        return one_round(conv_net, dense, train=train, **options)[0]

    one, two = mask("train"), mask("eval")
    assert all(torch.equal(one.keep[name], two.keep[name]) for name in one.keep)


def test_a_criterion_of_several_rounds_goes_from_the_survivors_on(conv_net, batches):
    """Its rounds lead from the density that is left to the next one, and end exactly there."""
    synflow = CRITERIA["synflow"]
    options = {"train": lambda model, mask: None, "criterion": synflow, "batches": batches}
    first, _ = one_round(conv_net, Mask.dense(conv_net), density=0.5, **options)
    second, _ = one_round(conv_net, first, density=0.2, **options)
    assert (first.kept, second.kept) == (round(0.5 * first.total), round(0.2 * first.total))
    assert nested(first, second)


# --- all rounds, in a notebook ---


def test_irp_counts_the_rounds_that_each_weight_survives(conv_net, batches, trained):
    before = copy.deepcopy(conv_net.state_dict())
    densities = (0.7, 0.4, 0.1)
    options = {"criterion": CRITERIA["snip"], "batches": batches}
    rounds = list(irp(conv_net, densities, train=trained, **options))
    assert [r.mask.kept for r in rounds] == [round(d * 132) for d in densities]
    assert all(nested(a.mask, b.mask) for a, b in pairwise(rounds))
    for name, survival in rounds[-1].survival.items():
        assert torch.equal(survival, sum(r.mask.keep[name].long() for r in rounds))
    assert [len(r.trained.train_loss) for r in rounds] == [1, 1, 1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in conv_net.state_dict().items())


def test_irp_is_its_rounds_one_after_the_other(conv_net, batches, trained):
    options = {"criterion": CRITERIA["snip"], "batches": batches}
    rounds = irp(conv_net, (0.7, 0.4), train=trained, **options)
    mask = Mask.dense(conv_net)
    for density, done in zip((0.7, 0.4), rounds, strict=True):
        mask, _ = one_round(conv_net, mask, density=density, train=trained, **options)
        assert all(torch.equal(mask.keep[name], done.mask.keep[name]) for name in mask.keep)


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
        patch.setattr("autos.work.units.WORK", folder / ".work")
        work = SourceWork.of("tiny", source(), image_store, CPU)
        assert [reused for _, reused in run(work.chains(), workers=1)] == [False] * 5
        write_survival(folder / "survival.zarr", {"tiny": work.survival()})
        results = [work.start.result(), *(unit.result() for unit in work.rounds)]
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
    monkeypatch.setattr("autos.work.units.WORK", tmp_path)
    tiny = source(architecture="lenet_300_100", width=0.02, rounds=3)
    chain = SourceWork.of("tiny", tiny, image_store, CPU).rounds
    work = run([chain], workers=1)
    assert [next(work)[1] for _ in range(2)] == [False] * 2
    work.close()
    first = [unit.path.read_bytes() for unit in chain[:2]]
    chain = SourceWork.of("tiny", tiny, image_store, CPU).rounds
    assert [reused for _, reused in run([chain], workers=1)] == [True] * 2 + [False]
    assert [unit.path.read_bytes() for unit in chain[:2]] == first


def test_a_source_may_use_every_criterion_that_orders_weights():
    """What a criterion says of itself decides, not a list of names."""
    refused = {"uniform", "uniform_plus", "erk", "igq", "smart_ratio", "npb", "phew"}
    assert {name for name, criterion in CRITERIA.items() if criterion.places} == refused
    for name in CRITERIA.keys() - refused:
        assert source(criterion=name).criterion == name
    for name in refused:
        with pytest.raises(ValueError, match=f"criterion '{name}' places as many weights"):
            source(criterion=name)
    with pytest.raises(ValueError, match="unknown IRP criterion 'snpi'; did you mean 'snip'"):
        source(criterion="snpi")
    with pytest.raises(ValueError, match=r"unknown schedule 'expo.*did you mean 'exponential'"):
        source(schedule="exponentially")


@pytest.mark.parametrize("criterion", ["snip", "magnitude", "grasp", "random", "synflow", "obd"])
def test_a_repetition_begins_with_the_same_weights_and_ends_with_other_scores(
    criterion, image_store, tmp_path, monkeypatch
):
    monkeypatch.setattr("autos.work.units.WORK", tmp_path)
    few = {"rounds": 2, "criterion": criterion, "architecture": "lenet_300_100", "width": 0.1}
    networks = {}
    for name, changes in (("one", {}), ("again", {}), ("two", {"repetition": 1})):
        work = SourceWork.of(name, source(**few, **changes), image_store, CPU)
        assert len(list(run(work.chains(), workers=1))) == 3
        networks[name] = work.survival()
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


# --- stores that hold something else ---


def dataset(**changes: object) -> Survival:
    """Two layers of 6 and 4 weights, with something changed."""
    rng = np.random.default_rng(0)
    facts = {
        "source": {},
        "layers": [
            {"name": "one", "offset": 0, "shape": [2, 3]},
            {"name": "two", "offset": 6, "shape": [4]},
        ],
        "densities": [0.5, 0.1],
    }
    values = {
        "weight": rng.random(10, np.float32),
        "gradient": rng.random(10, np.float32),
        "features": rng.random((10, 4), np.float32),
        "survival": np.arange(10, dtype=np.uint16) % 3,
    }
    about = facts | {key: value for key, value in changes.items() if key in facts}
    return Survival(**(values | {k: v for k, v in changes.items() if k in values}), about=about)


@pytest.mark.parametrize(
    "change",
    [
        {"source": None},
        {"layers": []},
        {"layers": 5},
        {"layers": [{"name": "one", "offset": 0, "shape": [2, 3]}]},
        {"layers": [{"name": "one", "offset": 1, "shape": [10]}]},
        {"layers": [{"name": "one", "offset": 0, "shape": [-10]}]},
        {"layers": [{"offset": 0, "shape": [10]}]},
        {"densities": []},
        {"densities": [None]},
        {"weight": np.ones(9, np.float32)},
        {"features": np.ones((10, 3), np.float32)},
        {"survival": np.ones(10, np.int64)},
    ],
)
def test_a_dataset_of_another_shape_is_refused(tmp_path, change):
    write_survival(tmp_path / "good.zarr", {"net": dataset()})
    assert read_survival(tmp_path / "good.zarr")["net"].rounds == 2
    write_survival(tmp_path / "bad.zarr", {"net": dataset(**change)})
    with pytest.raises(DamagedFileError, match=r"bad\.zarr: "):
        read_survival(tmp_path / "bad.zarr")
