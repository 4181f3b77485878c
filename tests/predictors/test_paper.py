"""The paper's predictor: what it sees and says, what it is trained on, and how it is kept."""

import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from autos.compute import Hardware
from autos.errors import UserError
from autos.irp.survival import Survival, write_survival
from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods.base import Context
from autos.methods.schedules import linear
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable
from autos.predictors.backbones import BACKBONES
from autos.predictors.config import PaperConfig
from autos.predictors.lookup import Lookup, nodes
from autos.predictors.paper import (
    CoarseLookupWarning,
    PaperPredictor,
    evaluate,
    root_mean_square,
    scaled_inputs,
)
from autos.predictors.paper_training import PaperTraining, train_paper
from autos.pruning import prune

BOTH = ["weight", "gradient"]


def untrained(inputs=BOTH, backbone="mlp"):
    network = BACKBONES[backbone](len(inputs))
    about = {"backbone": backbone, "inputs": list(inputs), "note": [1, "a"]}
    return PaperPredictor.compiled(network, about)


def values(n=200, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight, gradient = torch.randn(2, n, generator=generator)
    return {"weight": 0.1 * weight, "gradient": 1e-3 * gradient}


def context(batches):
    return Context(batches, 0.5, torch.Generator())


# --- scores ---


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("scale", [1e-6, 0.3, 1e4])
def test_features_are_blind_to_the_scale_of_a_whole_network(name, scale):
    one = values()
    two = {**one, name: one[name] * scale}
    torch.testing.assert_close(scaled_inputs(BOTH, two), scaled_inputs(BOTH, one))
    predictor = untrained()
    torch.testing.assert_close(predictor.predict(two), predictor.predict(one))


def test_features_have_a_root_mean_square_of_one_and_the_order_of_the_inputs():
    x = scaled_inputs(BOTH, values())
    assert x.shape == (200, 2) and x.dtype == torch.float32
    torch.testing.assert_close(x.square().mean(dim=0), torch.ones(2))
    torch.testing.assert_close(scaled_inputs(["gradient", "weight"], values()), x.flip(1))
    size = values()["weight"].square().mean().sqrt()
    torch.testing.assert_close(x[:, 0] * size, values()["weight"])


def test_features_of_a_network_without_gradient_are_zero_not_nan():
    x = scaled_inputs(BOTH, {"weight": torch.ones(3), "gradient": torch.zeros(3)})
    assert x.tolist() == [[1, 0]] * 3


@pytest.mark.parametrize("chunk", [1, 7, 199])
def test_a_score_does_not_depend_on_the_chunks(chunk, monkeypatch):
    predictor = untrained()
    scored, predicted = predictor.score(scaled_inputs(BOTH, values())), predictor.predict(values())
    monkeypatch.setattr("autos.predictors.paper.BATCH", chunk)
    monkeypatch.setattr("autos.predictors.paper.PIECE", chunk)
    torch.testing.assert_close(predictor.score(scaled_inputs(BOTH, values())), scored)
    assert torch.equal(predictor.predict(values()), predicted)
    assert len(predicted.unique()) == 200


@pytest.mark.parametrize("backbone", ["mlp", "resnet18"])
def test_a_score_does_not_depend_on_the_other_weights_in_its_batch(backbone):
    network = BACKBONES[backbone](2).eval()
    x = scaled_inputs(BOTH, values(12))
    others = torch.cat([x[:3], 100 * torch.randn(9, 2)])
    torch.testing.assert_close(evaluate(network, others)[:3], evaluate(network, x)[:3])


def test_scores_move_with_the_weights():
    order = torch.randperm(200)
    moved = {name: value[order] for name, value in values().items()}
    predictor = untrained()
    torch.testing.assert_close(predictor.predict(moved), predictor.predict(values())[order])


def test_as_a_criterion_it_scores_the_weights_and_mean_gradients_of_all_layers(conv_net, batches):
    predictor = untrained()
    scores = predictor.survival(conv_net, batches)
    gradient, weights = mean_gradient(conv_net, batches), prunable(conv_net)
    flat = {
        "weight": torch.cat([weight.detach().flatten() for weight in weights.values()]),
        "gradient": torch.cat([gradient[name].flatten() for name in weights]),
    }
    expected = predictor.predict(flat, [weight.numel() for weight in weights.values()])
    assert {name: score.shape for name, score in scores.items()} == {
        name: weight.shape for name, weight in weights.items()
    }
    assert torch.equal(torch.cat([score.flatten() for score in scores.values()]), expected)


def test_as_a_criterion_it_keeps_the_density_and_leaves_the_model_alone(conv_net, batches):
    before = copy.deepcopy(conv_net.state_dict())
    mask = prune(conv_net, untrained(), batches, density=0.2)
    mask.check(conv_net)
    assert mask.kept == round(0.2 * mask.total)
    assert conv_net.training and all(p.grad is None for p in conv_net.parameters())
    for name, tensor in conv_net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_with_weights_alone_it_reads_no_images(mlp):
    scores = untrained(["weight"]).survival(mlp, [])
    assert scores["fc1.weight"].shape == (12, 64)


def test_with_gradients_alone_it_sees_of_the_weights_only_their_layers_size(mlp, batches):
    predictor = untrained(["gradient"])
    flat = values()
    flipped = {**flat, "weight": -flat["weight"].flip(0)}
    torch.testing.assert_close(predictor.predict(flipped), predictor.predict(flat))
    gradient, weights = mean_gradient(mlp, batches), prunable(mlp)
    units = [gradient[name] * w.square().mean().sqrt() for name, w in weights.items()]
    x = torch.cat([unit.detach().flatten() for unit in units])
    expected = predictor.lookup([x], [float(x.square().mean().sqrt())])
    scores = predictor.survival(mlp, batches)
    found = torch.cat([score.flatten() for score in scores.values()])
    torch.testing.assert_close(found, expected)


def test_scaling_a_layer_up_and_its_gradients_down_changes_nothing():
    flat, sizes = values(), [50, 120, 30]
    factor = torch.tensor([1e-3, 1.0, 40.0]).repeat_interleave(torch.tensor(sizes))
    scaled = {"weight": flat["weight"] * factor, "gradient": flat["gradient"] / factor}
    x = scaled_inputs(BOTH, flat, sizes)
    torch.testing.assert_close(scaled_inputs(BOTH, scaled, sizes), x)
    assert not torch.allclose(scaled_inputs(BOTH, scaled), scaled_inputs(BOTH, flat))
    predictor = untrained()
    torch.testing.assert_close(predictor.predict(scaled, sizes), predictor.predict(flat, sizes))


def test_the_units_of_a_layer_and_of_the_network():
    flat = {
        "weight": torch.tensor([3.0, -3.0, 0.5, 0.5]),
        "gradient": torch.tensor([1.0, 1.0, 2.0, -4.0]),
    }
    # Products with the layer's size, 3 and 0.5, are 3, 3, 1 and -2.
    whole = ((9 + 9 + 1 + 4) / 4) ** 0.5
    expected = torch.tensor([[1.0, 3.0], [-1.0, 3.0], [1.0, 1.0], [1.0, -2.0]])
    expected[:, 1] /= whole
    torch.testing.assert_close(scaled_inputs(BOTH, flat, [2, 2]), expected)


def test_a_layer_that_starts_at_zero_has_zero_inputs():
    flat = {"weight": torch.tensor([1.0, 1.0, 0.0, 0.0]), "gradient": torch.ones(4)}
    x = scaled_inputs(BOTH, flat, [2, 2])
    assert x.isfinite().all() and x[2:].abs().max() < 1e-20 and x[:2, 0].tolist() == [1, 1]
    assert untrained().predict(flat, [2, 2]).isfinite().all()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([3.0, 4.0, 0.0, 0.0], 2.5),
        ([1e-25, 1e-25], 1e-25),
        ([6e4, 6e4], 6e4),
        ([0.0], 1e-30),
        ([], 1e-30),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_root_mean_square_is_over_all_pieces_and_never_zero(
    listed, expected, dtype, monkeypatch
):
    monkeypatch.setattr("autos.predictors.paper.PIECE", 3)
    if dtype == torch.float16 and expected == 1e-25:
        expected = 1e-30  # which half precision cannot tell from zero
    assert root_mean_square(torch.tensor(listed, dtype=dtype)) == pytest.approx(expected, rel=1e-3)


# --- the table in place of the network ---


class Kinky(nn.Sequential):
    """A small predictor with normalisation and kinks, as the paper's have them."""

    def __init__(self):
        torch.manual_seed(3)
        last = nn.Linear(48, 1)
        super().__init__(nn.Linear(2, 48), nn.BatchNorm1d(48), nn.ReLU(), last, nn.ReLU())
        self.append(nn.Flatten(0))
        nn.init.constant_(last.bias, 1.0)


@pytest.fixture(scope="module")
def predictors(tmp_path_factory):
    source = {"a": network(large_weight_small_gradient)}
    about = {"backbone": "kinky", "inputs": BOTH}
    torch.manual_seed(0)
    return {
        "untrained": untrained(),
        "trained": loaded(train(tmp_path_factory.mktemp("trained"), source, epochs=8)),
        "kinky": PaperPredictor.compiled(Kinky(), about),
    }


@pytest.fixture(scope="module")
def wide():
    """About 92,000 weights for 8x8 grey images, in layers of very different spread."""
    layers = nn.Linear(64, 500), nn.ReLU(), nn.Linear(500, 120), nn.ReLU(), nn.Linear(120, 3)
    return nn.Sequential(nn.Flatten(), *layers)


@pytest.mark.parametrize("kind", ["untrained", "trained", "kinky"])
def test_table_and_network_keep_the_same_weights(kind, predictors, wide, batches):
    predictor = predictors[kind]
    weights, gradient = prunable(wide), mean_gradient(wide, batches)
    flat = {
        "weight": torch.cat([weight.detach().flatten() for weight in weights.values()]),
        "gradient": torch.cat([gradient[name].flatten() for name in weights]),
    }
    assert len(flat["weight"]) == 92_360
    sizes = [weight.numel() for weight in weights.values()]
    scored = predictor.score(scaled_inputs(BOTH, flat, sizes))
    predicted = predictor.predict(flat, sizes)
    assert (predicted - scored).abs().max() < 0.02 * (scored.max() - scored.min())
    survival = predictor.survival(wide, batches)
    assert torch.equal(torch.cat([survival[name].flatten() for name in weights]), predicted)
    everything = Mask({"": torch.ones(92_360, dtype=torch.bool)})
    for density in (0.1, 0.05, 0.01):
        exact = keep_top({"": scored}, density, everything).keep[""]
        mask = prune(wide, predictor, batches, density=density)
        ours = torch.cat([mask.keep[name].flatten() for name in weights])
        assert (ours & exact).sum() >= 0.999 * (ours | exact).sum()


@pytest.mark.parametrize("backbone", ["mlp", "resnet18"])
def test_the_table_of_a_backbone_is_the_network_at_its_nodes(backbone, monkeypatch):
    monkeypatch.setattr("autos.predictors.lookup.COARSEST", 5)
    monkeypatch.setattr("autos.predictors.lookup.NODES", 9)
    network = BACKBONES[backbone](2).eval()
    table = Lookup.of(lambda points: evaluate(network, points), 2)
    axis = nodes(9)
    second, first = torch.meshgrid(axis[1:-1], axis[1:-1], indexing="ij")
    points = [first.flatten(), second.flatten()]
    truth = evaluate(network, torch.stack(points, dim=1))
    torch.testing.assert_close(table(points, [1.0, 1.0]), truth)
    assert truth.std() > 1e-4


def test_the_description_gains_how_far_the_table_is_from_the_network():
    about = {"backbone": "mlp", "inputs": BOTH}
    predictor = PaperPredictor.compiled(BACKBONES["mlp"](2).train(), about)
    assert about == {"backbone": "mlp", "inputs": BOTH}
    assert not predictor.network.training
    figures = predictor.about["lookup"]
    assert figures["nodes"] == 1025
    assert 0 < figures["mean_error"] < 1e-4 < figures["largest_error"] < 0.1


@pytest.mark.parametrize("inputs", [["weight"], BOTH])
def test_a_lookup_that_is_too_coarse_is_told_and_the_network_itself_scores(mlp, batches, inputs):
    network = BACKBONES["mlp"](len(inputs))
    about = {"backbone": "mlp", "inputs": inputs}
    coarse = Lookup(torch.rand(33 if len(inputs) == 2 else 1, 33))
    predictor = PaperPredictor(network, coarse, about)
    assert predictor.agreement < 0.9 < PaperPredictor.compiled(network, about).agreement
    weights, gradient = prunable(mlp), mean_gradient(mlp, batches)
    flat = {
        "weight": torch.cat([weight.detach().flatten() for weight in weights.values()]),
        "gradient": torch.cat([gradient[name].flatten() for name in weights]),
    }
    sizes = [weight.numel() for weight in weights.values()]
    exact = predictor.score(scaled_inputs(inputs, flat, sizes))
    with pytest.warns(CoarseLookupWarning, match="the network itself scores"):
        scores = predictor.survival(mlp, batches)
    torch.testing.assert_close(torch.cat([s.flatten() for s in scores.values()]), exact)
    with pytest.warns(CoarseLookupWarning):
        mask = prune(mlp, predictor, batches, density=0.3)
    everything = Mask({"": torch.ones(len(exact), dtype=torch.bool)})
    kept = torch.cat([mask.keep[name].flatten() for name in weights])
    assert torch.equal(kept, keep_top({"": exact}, 0.3, everything).keep[""])


def test_an_outlier_leaves_all_scores_finite():
    flat = values(10**6)
    flat["weight"][0] = 1e30
    flat["gradient"][1] = -1e30
    assert untrained().predict(flat).isfinite().all()


# --- files ---


def test_a_saved_predictor_gives_the_same_bits(tmp_path):
    predictor = untrained()
    predictor.save(tmp_path)
    loaded = PaperPredictor.load(tmp_path)
    assert loaded.about == predictor.about
    assert torch.equal(loaded.predict(values()), predictor.predict(values()))
    assert not loaded.network.training
    loaded.save(tmp_path / "again")
    for file in ("autos_paper.safetensors", "autos_paper.json"):
        assert (tmp_path / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    assert PaperPredictor.digest(tmp_path) == PaperPredictor.digest(tmp_path / "again")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "AutoS predictor of version 1, but this code reads version 4"),
        ({"kind": "mask"}, "is not a paper's AutoS predictor but mask"),
    ],
)
def test_another_version_or_kind_is_refused(tmp_path, change, message):
    untrained().save(tmp_path)
    file = tmp_path / "autos_paper.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message):
        PaperPredictor.load(tmp_path)


def test_a_predictor_without_a_table_is_refused_by_its_version(tmp_path, monkeypatch):
    monkeypatch.setattr("autos.predictors.paper.VERSION", 1)
    untrained().save(tmp_path)
    PaperPredictor.load(tmp_path)
    monkeypatch.undo()
    file = tmp_path / "autos_paper.json"
    for version in (1, 4):  # the description may say what it likes
        file.write_text(json.dumps(json.loads(file.read_text()) | {"version": version}))
        with pytest.raises(UserError, match="of version 1, but this code reads version 4"):
            PaperPredictor.load(tmp_path)


@pytest.mark.parametrize("file", ["autos_paper.json", "autos_paper.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered"])
def test_a_damaged_predictor_is_refused_by_file(tmp_path, file, damage):
    untrained().save(tmp_path)
    path = tmp_path / file
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:-9])
    elif damage == "altered":
        position = len(content) // 2
        path.write_bytes(content[:position] + b"\x07" + content[position + 1 :])
    with pytest.raises(UserError, match=rf"{file}: (damaged|not found)"):
        PaperPredictor.load(tmp_path)


def test_a_description_of_another_predictor_is_refused(tmp_path):
    predictor = untrained()
    predictor.save(tmp_path / "other")
    predictor.about = {**predictor.about, "inputs": predictor.inputs[::-1]}
    predictor.save(tmp_path)
    shutil.copy(tmp_path / "other/autos_paper.json", tmp_path)
    with pytest.raises(UserError, match=r"autos_paper\.json: does not describe autos_paper\.safet"):
        PaperPredictor.load(tmp_path)


# --- training ---


def network(rule, n=3000, rounds=10, seed=0):
    """Weights of which `rule` says in which order linear pruning took them away."""
    rng = np.random.default_rng(seed)
    weight = (0.1 * rng.standard_normal(n)).astype(np.float32)
    gradient = (1e-3 * rng.standard_normal(n)).astype(np.float32)
    features = np.zeros((n, 4), np.float32)  # of AutoS, which has tests of its own
    rank = np.argsort(np.argsort(-rule(weight / 0.1, gradient / 1e-3)))  # 0 lives longest
    densities = linear(0.05, rounds)
    survival = sum((rank < round(density * n)).astype(np.uint16) for density in densities)
    layers = [{"name": "only.weight", "offset": 0, "shape": [n]}]
    about = {"densities": densities, "source": {"seed": seed}, "layers": layers}
    return Survival(weight, gradient, features, survival, about)


def large_weight_small_gradient(weight, gradient):
    return np.abs(weight) - np.abs(gradient)


def train(path, networks, sources="all", **settings):
    write_survival(path / "survival.zarr", networks)
    config = {"backbone": "mlp", "epochs": 25, "batch_size": 128, "lr": 5e-3} | settings
    return train_paper(
        PaperTraining(
            sources=sources,
            autos_paper=PaperConfig(**config),
            survival=path / "survival.zarr",
            hardware=Hardware(accelerator="cpu"),
        )
    )


def held_out(count):
    """Indices of the weights held out of one network: the first tenth of a permutation."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[: count // 10].numpy()


def loaded(result):
    return PaperPredictor.from_state(result.tensors, result.about["about"])


def test_learns_a_rule_that_no_product_of_weight_and_gradient_knows(tmp_path):
    source = network(large_weight_small_gradient)
    result = train(tmp_path, {"a": source})
    report = result.about["report"]["networks"]["a"]
    labels = source.survival / 10
    assert report["held_out"] == 300
    assert report["label_variance"] == pytest.approx(labels.var(), rel=0.2)
    assert report["mse"] < 0.03 * report["label_variance"]
    assert report["spearman"]["autos_paper"] > 0.98 > 0.2 > abs(report["spearman"]["snip"])
    for ours, snip in zip(report["overlap"]["autos_paper"], report["overlap"]["snip"], strict=True):
        assert ours > snip
    assert np.sum(report["joint_histogram"]) == 300
    history = result.about["report"]
    assert len(history["train_mse"]) == len(history["validation_mse"]) == 25
    assert history["validation_mse"][-1] == pytest.approx(report["mse"], rel=1e-3)

    # The state is that of the network reported on, and knows weights that it has never seen.
    unseen = network(large_weight_small_gradient, seed=9)
    predicted = loaded(result).predict(
        {"weight": torch.from_numpy(unseen.weight), "gradient": torch.from_numpy(unseen.gradient)}
    )
    assert float(np.square(predicted.numpy() - unseen.survival / 10).mean()) < 0.005


def test_overlap_is_the_share_of_the_survivors_among_as_many_with_the_highest_scores(tmp_path):
    source = network(lambda weight, gradient: np.abs(weight * gradient), n=500)
    report = train(tmp_path, {"a": source}, epochs=1).about["report"]["networks"]["a"]
    held = held_out(500)
    survival, size = source.survival[held], np.abs(source.weight[held])
    for i in range(10):
        true = set(np.flatnonzero(survival > i))
        largest = set(np.argsort(-size)[: len(true)])
        expected = len(true & largest) / len(true)
        assert report["overlap"]["magnitude"][i] == pytest.approx(expected)
    assert report["overlap"]["snip"] == [1.0] * 10  # whose order survival follows
    assert report["spearman"]["snip"] > 0.99 > report["spearman"]["magnitude"] > 0.5
    assert report["densities"] == source.about["densities"]
    rows = np.sum(report["joint_histogram"], axis=1)
    assert rows.tolist() == np.bincount(survival, minlength=11).tolist()


@pytest.mark.parametrize("held", [True, False])
def test_labels_of_held_out_weights_and_no_others_are_without_influence(tmp_path, held):
    before = network(large_weight_small_gradient, n=400)
    where = held_out(400) if held else np.setdiff1d(np.arange(400), held_out(400))[:1]
    changed = before.survival.copy()
    changed[where] = 10 - changed[where]
    after = dataclasses.replace(before, survival=changed)
    one, two = (
        train(tmp_path / name, {"a": net}, epochs=2)
        for name, net in (("before", before), ("after", after))
    )
    same = all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    assert same == held
    errors = [result.about["report"]["validation_mse"] for result in (one, two)]
    assert errors[0] != errors[1]


def test_training_repeats_bit_for_bit_and_depends_on_the_seed(tmp_path):
    source = {"a": network(large_weight_small_gradient, n=400)}
    torch.manual_seed(1)
    randomness = torch.get_rng_state()
    one = train(tmp_path, source, epochs=2)
    assert torch.equal(torch.get_rng_state(), randomness)
    torch.manual_seed(2)
    two, other = train(tmp_path, source, epochs=2), train(tmp_path, source, epochs=2, seed=1)
    assert one.about == two.about
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    assert any(not torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_sources_are_scaled_one_by_one_and_merged(tmp_path):
    one = network(large_weight_small_gradient, n=400)
    two = network(large_weight_small_gradient, n=200, seed=1)
    loud = dataclasses.replace(two, weight=1024 * two.weight, gradient=two.gradient / 1024)
    plain = train(tmp_path, {"a": one, "b": two}, epochs=2)
    scaled = train(tmp_path, {"a": one, "b": loud}, epochs=2)
    alone = train(tmp_path, {"a": one, "b": two}, epochs=2, sources=["a"])
    assert all(torch.equal(plain.tensors[n], scaled.tensors[n]) for n in plain.tensors)
    assert any(not torch.equal(plain.tensors[n], alone.tensors[n]) for n in plain.tensors)
    assert list(plain.about["report"]["networks"]) == ["a", "b"]
    assert plain.about["about"]["sources"] == {"a": {"seed": 0}, "b": {"seed": 1}}
    assert list(alone.about["about"]["sources"]) == ["a"]


@pytest.mark.parametrize("name", BOTH)
def test_learns_from_one_input_alone(tmp_path, name):
    rules = {"weight": lambda w, g: np.abs(w), "gradient": lambda w, g: np.abs(g)}
    source = network(rules[name], n=1000)
    result = train(tmp_path, {"a": source}, inputs=[name], epochs=15)
    assert result.about["report"]["networks"]["a"]["spearman"]["autos_paper"] > 0.95
    assert result.tensors["network.0.weight"].shape == (64, 1)


@pytest.mark.parametrize("inputs", [["weight", "gradient"], ["gradient", "weight"]])
def test_the_map_has_weights_along_its_rows_and_gradients_down_its_columns(tmp_path, inputs):
    source = network(large_weight_small_gradient, n=1000)
    result = train(tmp_path, {"a": source}, inputs=inputs, epochs=10)
    axis, scores = (np.array(result.about["report"]["map"][key]) for key in ("axis", "scores"))
    assert scores.shape == (len(axis), len(axis))
    zero, two = np.abs(axis).argmin(), np.abs(axis - 2).argmin()
    # Large weight and no gradient lives; large gradient and no weight goes first.
    assert scores[zero, two] > 0.7 and scores[two, zero] < 0.3


def test_the_layers_of_a_source_are_scaled_one_by_one(tmp_path):
    source = network(large_weight_small_gradient, n=400)
    source.about["layers"] = [
        {"name": "one.weight", "offset": 0, "shape": [10, 30]},
        {"name": "two.weight", "offset": 300, "shape": [100]},
    ]
    factor = np.repeat(np.float32([1, 64]), [300, 100])
    scaled = dataclasses.replace(
        source, weight=source.weight * factor, gradient=source.gradient / factor
    )
    one, two = (
        train(tmp_path / name, {"a": net}, epochs=2)
        for name, net in (("plain", source), ("scaled", scaled))
    )
    assert all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)
    assert (
        one.about["report"]["networks"]["a"]["mse"] == two.about["report"]["networks"]["a"]["mse"]
    )


def test_an_unknown_source_is_refused_with_the_nearest_name(tmp_path):
    source = {"lenet": network(large_weight_small_gradient, n=50)}
    with pytest.raises(UserError, match="unknown source 'lent'; did you mean 'lenet'"):
        train(tmp_path, source, sources=["lent"])


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(tmp_path):
    source = {"a": network(large_weight_small_gradient, n=400)}
    with pytest.raises(UserError, match=r"not finite: lower lr \(1e\+30\)"):
        train(tmp_path, source, lr=1e30)
