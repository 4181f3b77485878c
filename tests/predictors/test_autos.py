"""AutoS: what it sees of a weight, and what it learns from surviving scores."""

import copy

import pytest
import torch
from torch import nn

from autos.errors import UserError
from autos.methods.criteria import CRITERIA
from autos.network.batches import cross_entropy
from autos.network.features import FEATURES, SAMPLES, STEP, features
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable
from autos.predictors.autos import AutoS
from autos.predictors.autos_fit import fit
from autos.pruning import prune


def autos(**coefficients):
    return AutoS({"coefficients": dict.fromkeys(FEATURES, 0.0) | coefficients})


def read(model, batches):
    """Features by name of the weight."""
    return {name: dict(zip(FEATURES, x, strict=True)) for name, x in features(model, batches)}


def centred(x):
    return x - x.mean()


# --- features ---


def test_features_of_a_linear_network_are_the_closed_forms(batches):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5, bias=False), nn.Linear(5, 3, bias=False))
    found = read(model, batches)
    gradients = mean_gradient(model, batches)
    first, second = (w.detach().double() for w in prunable(model).values())
    flows = {
        "1.weight": first.abs() * second.abs().sum(dim=0)[:, None],
        "2.weight": second.abs() * first.abs().sum(dim=1),
    }
    for name, weight in prunable(model).items():
        flow = flows[name]
        torch.testing.assert_close(found[name]["path"], flow.log().float())
        unit = flow.sum(dim=1, keepdim=True).log().expand_as(flow)
        torch.testing.assert_close(found[name]["unit"], centred(unit).float())
        w, g = (x / x.square().mean().sqrt() for x in (weight.detach(), gradients[name]))
        step = centred(((w - STEP * g).abs() + 1e-6).log())
        torch.testing.assert_close(found[name]["step"], step, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(found[name]["growth"], centred(torch.tanh(-w * g)))


@pytest.mark.parametrize("scale", [1e-3, 50.0])
def test_features_do_not_depend_on_the_scale_of_a_layer(conv_net, batches, scale):
    """In front of a normalisation; the flow of all layers grows by the same factor."""
    conv_net.train()
    before = read(conv_net, batches)
    with torch.no_grad():
        conv_net.conv1.weight.mul_(scale)
    after = read(conv_net, batches)
    for name, one in before.items():
        for feature in FEATURES:
            two = after[name][feature]
            if feature == "path":
                two = two - torch.tensor(scale).log()
            if feature == "step":  # the log of next to nothing is not exact
                one, two = one | {feature: one[feature].exp()}, two.exp()
            torch.testing.assert_close(two, one[feature], rtol=1e-3, atol=2e-3)


def test_what_is_pruned_or_leads_nowhere_comes_last_and_counts_nowhere(mlp, batches):
    with torch.no_grad():
        mlp.fc1.weight[:, 5:] = 0  # pruned
        mlp.fc2.weight[:, 0] = 0  # so the first hidden unit leads nowhere
    found = read(mlp, batches)["fc1.weight"]
    alive = torch.zeros(12, 64, dtype=torch.bool)
    alive[1:, :5] = True
    assert found["path"][~alive].max() < found["path"][alive].min() - 100
    for feature in ("unit", "step", "growth"):
        assert found[feature][alive].mean().abs() < 1e-5


class Gated(nn.Module):
    """Images [n, 1, 8, 8] to 3 logits by hidden units with gates, which ones saturate."""

    def __init__(self):
        super().__init__()
        self.inner, self.gate = nn.Linear(64, 12), nn.Linear(64, 12)
        self.outer = nn.Linear(12, 3)
        self.scale = nn.Parameter(torch.full((3,), 1e-20))

    def forward(self, x):
        x = x.flatten(1)
        return self.outer(self.inner(x) * nn.functional.hardsigmoid(self.gate(x))) * self.scale


def test_layers_that_no_flow_tells_of_have_the_mean_flow(batches):
    torch.manual_seed(0)
    model = Gated()
    with torch.no_grad():
        model.gate.weight.mul_(2)[0, :4] = 0
    found = read(model, batches)
    others = torch.cat([found[name]["path"].flatten() for name in ("inner.weight", "outer.weight")])
    path = found["gate.weight"]["path"]
    alive = model.gate.weight != 0
    torch.testing.assert_close(path[alive], others.mean().expand(alive.sum()))
    assert path[~alive].max() < others.min() - 100
    assert found["gate.weight"]["step"][alive].std() > 0.1
    mask = prune(model, autos(path=1.0, growth=1.0), batches, density=0.3)
    assert 0.05 < mask.layer_densities()["gate.weight"] < 0.95


def test_scales_and_biases_do_not_count_for_the_flow(batches):
    torch.manual_seed(0)
    model = Gated()
    before = read(model, batches)
    with torch.no_grad():
        model.scale.fill_(3.0)
        model.inner.bias.add_(5)
    for name, found in read(model, batches).items():
        assert torch.equal(found["path"], before[name]["path"])


def test_a_flow_that_overflows_is_told(batches):
    layers = [layer for _ in range(22) for layer in (nn.Linear(64, 64), nn.LayerNorm(64))]
    model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, 3))
    with torch.no_grad():
        for layer in layers[::2]:
            layer.weight.mul_(1e15)
    with pytest.raises(UserError, match=r"flow through 1\.weight overflows; autos_paper"):
        read(model, batches)


def test_the_gradient_is_taken_on_whole_batches_until_there_are_samples_enough(mlp):
    generator = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(100, 1, 8, 8, generator=generator), torch.arange(100) % 3) for _ in range(4)
    ]
    assert SAMPLES == 250
    found, three, two = (read(mlp, batches[:n])["fc1.weight"]["growth"] for n in (4, 3, 2))
    assert torch.equal(found, three)
    assert not torch.equal(found, two)


def test_the_model_is_left_as_it_was(conv_net, batches):
    conv_net.eval()
    before = copy.deepcopy(conv_net.state_dict())
    list(features(conv_net, batches))
    for name, tensor in conv_net.state_dict().items():
        assert torch.equal(tensor, before[name])


# --- pruning ---


def test_with_nothing_but_paths_it_is_synflow_in_as_many_rounds(conv_net, batches):
    ours = prune(conv_net, autos(path=1.0), batches, density=0.2)
    synflow = prune(
        conv_net, CRITERIA["synflow"], batches, density=0.2, settings={"rounds": AutoS.rounds}
    )
    assert all(torch.equal(ours.keep[name], synflow.keep[name]) for name in synflow.keep)


def test_is_scored_anew_in_the_network_that_is_left(mlp, batches):
    """Ways into a unit that has lost its last way out go next; without rounds they stay."""

    def astray(rounds):
        predictor = autos(path=1.0, step=2.0)
        predictor.rounds = rounds
        mask = prune(mlp, predictor, batches, density=0.05)
        return int(mask.keep["fc1.weight"][~mask.keep["fc2.weight"].any(dim=0)].sum())

    assert astray(AutoS.rounds) < astray(1)


def test_log_odds_are_the_sum_of_the_features(mlp, batches):
    coefficients = {"path": 0.5, "unit": -1.0, "step": 2.0, "growth": 0.25}
    scores = autos(**coefficients).survival(mlp, batches, cross_entropy)
    for name, found in read(mlp, batches).items():
        expected = sum(coefficients[f] * found[f] for f in FEATURES)
        torch.testing.assert_close(scores[name], expected)


# --- learning ---


def drawn(coefficients, intercepts, n=20_000, seed=0):
    """Features and surviving scores of the proportional-odds model."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, len(FEATURES), generator=generator)
    noise = torch.rand(n, generator=generator).logit()
    log_odds = inputs @ torch.tensor(coefficients) + noise
    return inputs, (log_odds[:, None] + torch.tensor(intercepts) > 0).sum(dim=1)


def test_fit_finds_the_coefficients_that_scores_were_drawn_with():
    truth = [0.8, -0.5, 0.3, 0.0]
    sources = {
        "a": drawn(truth, [1.0, 0.0, -2.0]),
        "b": drawn(truth, [2.0, -1.0], n=10_000, seed=1),
    }
    assert list(fit(sources).values()) == pytest.approx(truth, abs=0.04)


def test_sources_of_different_size_weigh_the_same():
    one, two = [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]
    sources = {"a": drawn(one, [0.0], n=40_000), "b": drawn(two, [0.0], n=4_000, seed=1)}
    found = fit(sources)
    assert found["path"] == pytest.approx(found["step"], abs=0.05)


def test_a_round_that_all_survived_tells_nothing_and_does_no_harm():
    inputs, survived = drawn([0.8, -0.5, 0.3, 0.0], [1.0, -2.0])
    plain, shifted = fit({"a": (inputs, survived)}), fit({"a": (inputs, survived + 1)})
    assert list(shifted.values()) == pytest.approx(list(plain.values()), abs=1e-3)


def test_of_a_large_source_enough_is_looked_at(monkeypatch):
    truth = [0.8, -0.5, 0.3, 0.0]
    inputs, survived = drawn(truth, [1.0, 0.0, -2.0], n=60_000)
    inputs[::2] = 0  # a part that tells nothing, which a stride might pick alone
    monkeypatch.setattr("autos.predictors.autos_fit.MOST", 20_000)
    few = fit({"a": (inputs, survived)})
    monkeypatch.setattr("autos.predictors.autos_fit.MOST", 60_000)
    many = fit({"a": (inputs, survived)})
    assert few != many
    assert list(few.values()) == pytest.approx(list(many.values()), abs=0.05)


def test_only_the_named_features_are_learned_from_and_count(mlp, batches):
    """The noise of the others makes the coefficients that are left smaller."""
    sources = {"a": drawn([0.8, 0.0, 0.3, 0.0], [1.0, 0.0, -2.0])}
    found = fit(sources, ["step", "path"])
    assert found == pytest.approx({"step": 0.3, "path": 0.8}, abs=0.04)
    assert fit(sources, ["step"])["step"] < found["step"]
    scores = AutoS({"coefficients": {"step": 2.0}}).survival(mlp, batches)
    for name, values in read(mlp, batches).items():
        torch.testing.assert_close(scores[name], 2 * values["step"])


def test_is_found_again_after_saving(tmp_path):
    saved = autos(path=1.0, growth=-0.5)
    saved.save(tmp_path)
    assert AutoS.load(tmp_path).about == saved.about
    (tmp_path / "autos.json").write_text('{"kind": "AutoS", "version": 0}')
    with pytest.raises(UserError, match="version"):
        AutoS.load(tmp_path)
