"""AutoS: what the predictor sees and says, what it is trained on, and how it is kept."""

import copy
import json

import numpy as np
import pytest
import torch

from models.autos import BACKBONES
from pipeline.compute import Hardware
from pipeline.criterion import Context
from pipeline.errors import UserError
from pipeline.gradients import mean_gradient
from pipeline.predictor import Predictor, features
from pipeline.predictor_training import PredictorConfig, PredictorTraining, train_predictor
from pipeline.prunable import prunable
from pipeline.pruning import prune
from pipeline.schedules import linear
from pipeline.survival import Survival, write_survival

BOTH = ["weight", "gradient"]


def untrained(inputs=BOTH, backbone="mlp"):
    network = BACKBONES[backbone](len(inputs))
    return Predictor(network, {"backbone": backbone, "inputs": list(inputs), "note": [1, "a"]})


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
    torch.testing.assert_close(features(BOTH, two), features(BOTH, one))
    predictor = untrained()
    torch.testing.assert_close(predictor.predict(two), predictor.predict(one))


def test_features_have_a_root_mean_square_of_one_and_the_order_of_the_inputs():
    x = features(BOTH, values())
    assert x.shape == (200, 2) and x.dtype == torch.float32
    torch.testing.assert_close(x.square().mean(dim=0), torch.ones(2))
    torch.testing.assert_close(features(["gradient", "weight"], values()), x.flip(1))
    size = values()["weight"].square().mean().sqrt()
    torch.testing.assert_close(x[:, 0] * size, values()["weight"])


def test_features_of_a_network_without_gradient_are_zero_not_nan():
    x = features(BOTH, {"weight": torch.ones(3), "gradient": torch.zeros(3)})
    assert x.tolist() == [[1, 0]] * 3


@pytest.mark.parametrize("chunk", [1, 7, 199])
def test_a_score_does_not_depend_on_the_chunks(chunk):
    predictor = untrained()
    whole = predictor.predict(values())
    predictor.BATCH = chunk
    torch.testing.assert_close(predictor.predict(values()), whole)
    assert len(whole.unique()) == 200


@pytest.mark.parametrize("backbone", ["mlp", "resnet18"])
def test_a_score_does_not_depend_on_the_other_weights_in_its_batch(backbone):
    predictor = untrained(backbone=backbone)
    x = features(BOTH, values(12))
    others = torch.cat([x[:3], 100 * torch.randn(9, 2)])
    torch.testing.assert_close(predictor.score(others)[:3], predictor.score(x)[:3])


def test_scores_move_with_the_weights():
    order = torch.randperm(200)
    moved = {name: value[order] for name, value in values().items()}
    predictor = untrained()
    torch.testing.assert_close(predictor.predict(moved), predictor.predict(values())[order])


def test_as_a_criterion_it_scores_the_weights_and_mean_gradients_of_all_layers(conv_net, batches):
    predictor = untrained()
    scores = predictor(conv_net, context(batches))
    gradient, weights = mean_gradient(conv_net, batches), prunable(conv_net)
    flat = {
        "weight": torch.cat([weight.detach().flatten() for weight in weights.values()]),
        "gradient": torch.cat([gradient[name].flatten() for name in weights]),
    }
    expected = predictor.predict(flat)
    assert {name: score.shape for name, score in scores.items()} == {
        name: weight.shape for name, weight in weights.items()
    }
    assert torch.equal(torch.cat([score.flatten() for score in scores.values()]), expected)


def test_as_a_criterion_it_keeps_the_density_and_leaves_the_model_alone(conv_net, batches):
    before = copy.deepcopy(conv_net.state_dict())
    mask = prune(conv_net, untrained().criterion, batches, density=0.2)
    mask.check(conv_net)
    assert mask.kept == round(0.2 * mask.total)
    assert conv_net.training and all(p.grad is None for p in conv_net.parameters())
    for name, tensor in conv_net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_with_weights_alone_it_reads_no_images(mlp):
    scores = untrained(["weight"])(mlp, context(None))
    assert scores["fc1.weight"].shape == (12, 64)


def test_with_gradients_alone_it_is_blind_to_the_weights(mlp, batches):
    predictor = untrained(["gradient"])
    flat = values()
    torch.testing.assert_close(
        predictor.predict(flat), predictor.predict({"gradient": flat["gradient"]})
    )
    gradient = mean_gradient(mlp, batches)
    expected = predictor.predict({"gradient": torch.cat([g.flatten() for g in gradient.values()])})
    scores = predictor(mlp, context(batches))
    assert torch.equal(torch.cat([score.flatten() for score in scores.values()]), expected)


# --- files ---


def test_a_saved_predictor_gives_the_same_bits(tmp_path):
    predictor = untrained()
    predictor.save(tmp_path)
    loaded = Predictor.load(tmp_path)
    assert loaded.about == predictor.about
    assert torch.equal(loaded.predict(values()), predictor.predict(values()))
    assert not loaded.network.training
    loaded.save(tmp_path / "again")
    for file in ("predictor.safetensors", "predictor.json"):
        assert (tmp_path / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    assert Predictor.digest(tmp_path) == Predictor.digest(tmp_path / "again")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "AutoS predictor of version 2, but this code reads version 1"),
        ({"kind": "mask"}, "is not a AutoS predictor but mask"),
    ],
)
def test_another_version_or_kind_is_refused(tmp_path, change, message):
    untrained().save(tmp_path)
    file = tmp_path / "predictor.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=message):
        Predictor.load(tmp_path)


@pytest.mark.parametrize("file", ["predictor.json", "predictor.safetensors"])
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
        Predictor.load(tmp_path)


def test_a_description_of_another_predictor_is_refused(tmp_path):
    untrained().save(tmp_path)
    file = tmp_path / "predictor.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"inputs": about["inputs"][::-1]}))
    with pytest.raises(UserError, match=r"predictor\.json: does not describe predictor\.safet"):
        Predictor.load(tmp_path)


# --- training ---


def network(rule, n=3000, rounds=10, seed=0):
    """Weights of which `rule` says in which order linear pruning took them away."""
    rng = np.random.default_rng(seed)
    weight = (0.1 * rng.standard_normal(n)).astype(np.float32)
    gradient = (1e-3 * rng.standard_normal(n)).astype(np.float32)
    rank = np.argsort(np.argsort(-rule(weight / 0.1, gradient / 1e-3)))  # 0 lives longest
    densities = linear(0.05, rounds)
    survival = sum((rank < round(density * n)).astype(np.uint16) for density in densities)
    return Survival(weight, gradient, survival, {"densities": densities, "source": {"seed": seed}})


def large_weight_small_gradient(weight, gradient):
    return np.abs(weight) - np.abs(gradient)


def train(path, networks, **settings):
    write_survival(path / "survival.zarr", networks)
    config = {"backbone": "mlp", "epochs": 25, "batch_size": 128, "lr": 5e-3} | settings
    return train_predictor(
        PredictorTraining(
            predictor=PredictorConfig(**config),
            survival=path / "survival.zarr",
            hardware=Hardware(accelerator="cpu"),
        )
    )


def held_out(count):
    """Indices of the weights held out of one network: the first tenth of a permutation."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return order[: count // 10].numpy()


def loaded(result):
    about = result.about["about"]
    net = BACKBONES[about["backbone"]](len(about["inputs"]))
    net.load_state_dict(result.tensors)
    return Predictor(net, about)


def test_learns_a_rule_that_no_product_of_weight_and_gradient_knows(tmp_path):
    source = network(large_weight_small_gradient)
    result = train(tmp_path, {"a": source})
    report = result.about["report"]["networks"]["a"]
    labels = source.survival / 10
    assert report["held_out"] == 300
    assert report["label_variance"] == pytest.approx(labels.var(), rel=0.2)
    assert report["mse"] < 0.03 * report["label_variance"]
    assert report["spearman"]["autos"] > 0.98 > 0.2 > abs(report["spearman"]["snip"])
    for ours, snip in zip(report["overlap"]["autos"], report["overlap"]["snip"], strict=True):
        assert ours > snip
    assert np.sum(report["joint_histogram"]) == 300
    history = result.about["report"]
    assert len(history["train_mse"]) == len(history["validation_mse"]) == 25
    assert history["validation_mse"][-1] == pytest.approx(report["mse"], rel=1e-4)

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
    after = Survival(before.weight, before.gradient, changed, before.about)
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
    loud = Survival(1024 * two.weight, two.gradient / 1024, two.survival, two.about)
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
    assert result.about["report"]["networks"]["a"]["spearman"]["autos"] > 0.95
    assert result.tensors["0.weight"].shape == (64, 1)


@pytest.mark.parametrize("inputs", [["weight", "gradient"], ["gradient", "weight"]])
def test_the_map_has_weights_along_its_rows_and_gradients_down_its_columns(tmp_path, inputs):
    source = network(large_weight_small_gradient, n=1000)
    result = train(tmp_path, {"a": source}, inputs=inputs, epochs=10)
    axis, scores = (np.array(result.about["report"]["map"][key]) for key in ("axis", "scores"))
    assert scores.shape == (len(axis), len(axis))
    zero, two = np.abs(axis).argmin(), np.abs(axis - 2).argmin()
    # Large weight and no gradient lives; large gradient and no weight goes first.
    assert scores[zero, two] > 0.7 and scores[two, zero] < 0.3


def test_an_unknown_source_is_refused_with_the_nearest_name(tmp_path):
    source = {"lenet": network(large_weight_small_gradient, n=50)}
    with pytest.raises(UserError, match="unknown source 'lent'; did you mean 'lenet'"):
        train(tmp_path, source, sources=["lent"])


def test_a_loss_that_is_not_finite_ends_the_training_with_advice(tmp_path):
    source = {"a": network(large_weight_small_gradient, n=400)}
    with pytest.raises(UserError, match=r"not finite: lower lr \(1e\+30\)"):
        train(tmp_path, source, lr=1e30)
