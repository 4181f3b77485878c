"""Weights that are left out of a mask, by name, by type, or because they are frozen."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.errors import UserError
from autos.masks.mask import Mask
from autos.methods import METHODS
from autos.methods.criteria import CRITERIA
from autos.network.prunable import prunable
from autos.predictors.autos import AutoS
from autos.pruning import FrozenWarning, find, prune
from autos.training.recipe import TrainConfig

WIDTH, CLASSES = 6, 3


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.Linear(WIDTH, WIDTH)
        self.down = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + self.down(self.up(x).relu())


class Net(nn.Module):
    """Layers under names, in blocks, and one that is tied."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.Sequential(Block(), Block())
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.again = nn.Linear(WIDTH, WIDTH)
        self.again.weight = self.stem.weight
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        x = self.again(self.blocks(self.stem(x)))[:, None]
        return self.head((x + self.attention(x, x, x, need_weights=False)[0])[:, 0])


EVERY = [
    "stem.weight",
    *(f"blocks.{index}.{part}.weight" for index in range(2) for part in ("up", "down")),
    "attention.in_proj_weight",
    "attention.out_proj.weight",
    "head.weight",
]


@pytest.fixture
def data():
    return [(torch.randn(n, WIDTH), torch.arange(n) % CLASSES) for n in (5, 4)]


def names(model, data, **options):
    mask = prune(model, CRITERIA["snip"], data, density=0.5, **options)
    assert mask.kept == round(0.5 * mask.total)
    return list(mask.keep)


@pytest.mark.parametrize(
    ("selectors", "meant"),
    [
        ("head", ["head.weight"]),
        (["head.weight"], ["head.weight"]),
        (["stem", "head"], ["stem.weight", "head.weight"]),
        ("again", ["stem.weight"]),  # It is one weight under two names.
        ("blocks.0", ["blocks.0.up.weight", "blocks.0.down.weight"]),
        ("*.up", ["blocks.0.up.weight", "blocks.1.up.weight"]),
        ("blocks.?.down.weight", ["blocks.0.down.weight", "blocks.1.down.weight"]),
        (nn.MultiheadAttention, ["attention.in_proj_weight", "attention.out_proj.weight"]),
        ([Block], [name for name in EVERY if name.startswith("blocks")]),
        ([Block, "head"], [name for name in EVERY if name.startswith(("blocks", "head"))]),
        ("*.bias", []),  # Biases are no prunable weights, but they are there.
        ((), []),
    ],
    ids=str,
)
def test_what_is_meant_is_excluded_or_is_all_that_is_included(data, selectors, meant):
    model = Net()
    assert list(prunable(model)) == EVERY
    rest = [name for name in EVERY if name not in meant]
    assert names(model, data, exclude=selectors) == rest
    if meant:
        assert names(model, data, include=selectors) == [name for name in EVERY if name in meant]
        with pytest.raises(UserError, match="leave no weight to prune"):
            names(model, data, include=selectors, exclude=selectors)


@pytest.mark.parametrize("argument", ["include", "exclude"])
@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("heat", r"'heat' means no weight of the model; did you mean 'head'"),
        (nn.Conv2d, "means no weight of the model"),
        (nn.Linear(2, 2), "takes"),
        (int, "takes patterns of names and types of modules"),
        (3, "takes"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(data, argument, selector, message):
    for given in (selector, [selector]):
        with pytest.raises(UserError, match=f"^{argument}.*{message}"):
            names(Net(), data, **{argument: given})


def test_scores_are_those_of_the_whole_network_and_compete_without_what_is_left_out(data):
    """The gradient of plain PyTorch says what SNIP keeps of the layers that take part."""
    model, plain = Net().eval(), None
    mask = prune(model, CRITERIA["snip"], data, density=0.3, exclude=["stem", "blocks.1"])
    plain = copy.deepcopy(model)
    (sum(F.cross_entropy(plain(x), y, reduction="sum") for x, y in data) / 9).backward()
    weights = prunable(plain)
    scores = torch.cat([(weights[n] * weights[n].grad).abs().flatten() for n in mask.keep])
    kept = torch.cat([keep.flatten() for keep in mask.keep.values()])
    assert int(kept.sum()) == round(0.3 * len(scores))
    assert scores[kept].min() > scores[~kept].max()


def test_flow_passes_through_what_is_left_out_with_the_values_that_it_has():
    """R = 1' |C| |B| |A| 1, and only A and C are scored, by |w| dR/d|w|."""
    a, b, c = (nn.Linear(4, 4, bias=False) for _ in range(3))
    model = nn.Sequential(a, b, c)
    mask = prune(
        model,
        CRITERIA["synflow"],
        [(torch.randn(2, 4), torch.tensor([0, 1]))],
        density=0.5,
        settings={"rounds": 1},
        exclude="1",
    )
    first, second, third = (layer.weight.detach().double().abs() for layer in (a, b, c))
    one = torch.ones(4, dtype=torch.float64)
    scores = {
        "0.weight": first * (one @ third @ second)[:, None],
        "2.weight": third * (second @ first @ one)[None],
    }
    least = torch.cat([s.flatten() for s in scores.values()]).sort(descending=True).values[15]
    assert {name: (s >= least).tolist() for name, s in scores.items()} == {
        name: keep.tolist() for name, keep in mask.keep.items()
    }


@pytest.mark.parametrize("name", ["autos", "npb", "erk", "grasp", "prospr", "force", "ntk_sap"])
def test_every_kind_of_score_does_without_what_is_left_out(name, data):
    model = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, CLASSES))
    method = AutoS.load() if name == "autos" else METHODS[name]
    mask = prune(model, method, data, density=0.4, exclude=["0", "3"])
    assert list(mask.keep) == ["2.weight"] and mask.kept == round(0.4 * 64)


def test_phew_which_walks_through_all_layers_refuses(data):
    model = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    with pytest.raises(UserError, match=r"0\.weight is left out, and walks lead through all"):
        prune(model, CRITERIA["phew"], data, density=0.5, exclude="0")


def test_what_computes_its_weight_can_be_left_out(data):
    model = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    nn.utils.parametrizations.weight_norm(model[0])
    assert names(model, data, exclude="0") == ["2.weight"]


def test_a_mask_of_some_weights_is_applied_attached_and_saved_like_any_other(data, tmp_path):
    model = Net()
    before = copy.deepcopy(model.state_dict())
    mask = prune(model, CRITERIA["snip"], data, density=0.2, include="blocks")
    mask.save(tmp_path / "mask.safetensors")
    loaded, _ = Mask.load(tmp_path / "mask.safetensors")
    loaded.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for name, value in model.state_dict().items():
        keep = mask.keep[name] if name in mask.keep else torch.ones_like(value)
        assert torch.equal(value, before[name] * keep)


# --- frozen weights ---

RECIPE = TrainConfig(epochs=2, batch_size=5, optimizer="sgd", lr=0.1, schedule="cosine")
TRAINING = [n for n, m in METHODS.items() if m.data == "training" and n != "early_bird"]


def backbone():
    """A frozen backbone with BatchNorm, whose statistics are not those of the data, and a head."""
    body = nn.Sequential(nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.ReLU())
    body[1].running_mean.fill_(0.5)
    body.requires_grad_(False)
    head = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))
    return nn.Sequential(body, head)


@pytest.mark.parametrize("name", TRAINING)
def test_no_method_trains_what_is_frozen_and_its_statistics_stay(name, data):
    model = backbone()
    before = copy.deepcopy(model.state_dict())
    with pytest.warns(FrozenWarning, match=r"^0\.0\.weight is frozen"):
        found = find(model, METHODS[name], data, density=0.5, recipe=RECIPE)
    assert list(found.mask.keep) == ["1.0.weight", "1.3.weight"]
    assert found.mask.kept == round(0.5 * (64 + 24))
    state = found.start or before
    for key in before:
        if key.startswith("0."):
            assert torch.equal(state[key], before[key]), key
    if found.trained:
        assert not torch.equal(state["1.0.weight"], before["1.0.weight"])
        assert not torch.equal(state["1.1.running_mean"], before["1.1.running_mean"])
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert [p.requires_grad for p in model.parameters()] == [False] * 4 + [True] * 6


def test_a_method_that_trains_refuses_to_prune_what_is_frozen(data):
    with pytest.raises(UserError, match=r"^0\.0\.weight is frozen, and rigl trains"):
        find(backbone(), METHODS["rigl"], data, density=0.5, recipe=RECIPE, include="*")


def test_what_is_frozen_and_excluded_is_not_told(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names(backbone(), data, exclude="0") == ["1.0.weight", "1.3.weight"]


def test_a_weight_that_wants_a_gradient_under_one_of_its_names_is_not_frozen(data):
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3))
    model[0].weight.data = model[1].weight.data
    model[0].weight.requires_grad_(False)
    assert names(model, data) == ["0.weight", "2.weight"]
