"""Copies of a model share what the model shares, and hold what it keeps from a forward pass."""

import copy
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.errors import UserError
from autos.irp.rounds import irp
from autos.masks.mask import Mask
from autos.methods import METHODS
from autos.methods.criteria import CRITERIA
from autos.methods.schedules import exponential
from autos.network.gradients import mean_gradient
from autos.network.working_copy import working_copy
from autos.predictors.autos import AutoS
from autos.pruning import find, prune
from autos.training.recipe import TrainConfig

WIDTH, CLASSES = 6, 3
EVERY = {
    **CRITERIA,
    "synflow": replace(CRITERIA["synflow"], densities=lambda d, _: exponential(d, 4)),
    "autos": AutoS({"coefficients": {"path": 1.0, "unit": -0.5, "step": 0.2, "growth": 0.2}}),
}
EVERY["autos"].rounds = 3
TRAINING = ("rigl", "imp", "edge_popup")
RECIPE = TrainConfig(epochs=1, batch_size=4, optimizer="sgd", lr=0.01, schedule="cosine")


def batches(*shape, count=2):
    torch.manual_seed(1)
    labels = torch.arange(4) % CLASSES
    return [(torch.randn(4, *shape or (WIDTH,)), labels) for _ in range(count)]


def found(model, name, data):
    method = EVERY.get(name) or METHODS[name]
    recipe = RECIPE if name in TRAINING else None
    return find(model, method, data, density=0.5, seed=2, recipe=recipe)


def same(one: Mask, two: Mask) -> bool:
    return one.shapes == two.shapes and all(map(torch.equal, one.keep.values(), two.keep.values()))


# --- weights that are tied ---


class Tied(nn.Module):
    """One matrix in three layers; `share` gives a layer the weight of another one."""

    def __init__(self, share):
        super().__init__()
        self.one, self.two, self.three = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.head = nn.Linear(WIDTH, CLASSES)
        share(self.two, self.one.weight)
        share(self.three, self.one.weight)

    def forward(self, x):
        return self.head(self.three(self.two(self.one(x).relu()).tanh()))


def by_identity(layer, weight):
    layer.weight = weight


def by_data(layer, weight):
    layer.weight.data = weight.data


def by_parameter(layer, weight):
    layer.weight = nn.Parameter(weight.detach())


def by_view(layer, weight):
    layer.weight = nn.Parameter(weight.data.flatten().view_as(weight))


SHARED = [by_data, by_parameter, by_view]


def tied(share):
    torch.manual_seed(0)
    return Tied(share)


@pytest.mark.parametrize("share", SHARED)
@pytest.mark.parametrize("name", [*EVERY, *TRAINING])
def test_weights_in_one_place_of_the_memory_have_the_mask_of_one_parameter(share, name):
    model = tied(share)
    mask = found(model, name, batches()).mask
    assert list(mask.keep) == ["one.weight", "head.weight"]
    assert mask.kept == round(0.5 * (WIDTH * WIDTH + CLASSES * WIDTH))
    assert same(mask, found(tied(by_identity), name, batches()).mask)
    assert len({layer.weight.data_ptr() for layer in (model.one, model.two, model.three)}) == 1
    assert model.one.weight is not model.two.weight


@pytest.mark.parametrize("share", SHARED)
def test_their_gradient_is_the_sum_over_all_uses(share):
    model = tied(share).double()
    share(model.two, model.one.weight)
    share(model.three, model.one.weight)
    data = [(inputs.double(), labels) for inputs, labels in batches(count=1)]
    F.cross_entropy(model(data[0][0]), data[0][1]).backward()
    expected = model.one.weight.grad + model.two.weight.grad + model.three.weight.grad
    gradient = mean_gradient(working_copy(model), data)
    torch.testing.assert_close(gradient["one.weight"], expected)


@pytest.mark.parametrize("share", SHARED)
def test_a_layer_and_an_embedding_in_one_place_of_the_memory_are_one_weight(share):
    def language(share):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7))
        share(model[2], model[0].weight)
        return model

    data = [(tokens := torch.randint(7, (3, 5)), tokens.roll(1, 1))]
    masks = [
        prune(language(way), CRITERIA["snip"], data, density=0.4) for way in (share, by_identity)
    ]
    assert same(*masks)


@pytest.mark.parametrize("share", SHARED)
def test_such_a_mask_is_held_in_every_layer_in_every_form(share, cut):
    mask = cut(Mask.dense(tied(share)), "one.weight", 0)
    expected = tied(by_identity)
    mask.apply_(expected)
    ((inputs, _),) = batches(count=1)
    for hold in (Mask.apply_, Mask.parametrize, Mask.to_torch_prune):
        model = tied(share)
        hold(mask, model)
        for layer in (model.one, model.two, model.three):
            assert not layer.weight[0].any() and layer.weight[1:].all()
        assert torch.equal(model(inputs), expected(inputs))
    assert same(Mask.from_torch_prune(model), mask)


def test_iterative_rewind_pruning_copies_them_as_one():
    uses = []
    result = irp(
        tied(by_data),
        densities=[0.5],
        train=lambda model, mask: uses.append(model.two.weight is model.one.weight),
        criterion=CRITERIA["magnitude"],
        batches=batches(),
    )
    assert [round.mask.kept for round in result] == [27] and uses == [True]


def test_parts_of_one_memory_that_do_not_overlap_are_weights_of_their_own():
    both = torch.randn(WIDTH, 2 * WIDTH)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False))
    plain = copy.deepcopy(model)
    for index, part in enumerate(both.split(WIDTH, dim=1)):
        model[index].weight.data = part
        plain[index].weight.data = part.clone()
    data = batches()
    masks = [prune(net, CRITERIA["snip"], data, density=0.5) for net in (model, plain)]
    assert same(*masks) and masks[0].total == 2 * WIDTH * WIDTH


@pytest.mark.parametrize(
    "view", [lambda w: w.T, lambda w: w.flatten()[: 3 * WIDTH].view(3, WIDTH)], ids=["T", "part"]
)
def test_weights_that_share_some_values_in_another_shape_are_refused_by_name(view):
    one = nn.Linear(WIDTH, WIDTH)
    two = nn.Linear(WIDTH, len(view(one.weight)))
    two.weight.data = view(one.weight.data)
    with pytest.raises(UserError, match=r"1\.weight shares values with another .*F\.linear"):
        prune(nn.Sequential(one, two), CRITERIA["snip"], batches(), density=0.5)


# --- tensors that a model keeps from a forward pass ---


@dataclass
class Cache:
    keys: list[torch.Tensor]


class Keeping(nn.Module):
    """Computes a function, and keeps what it met on the way, as `keep` says."""

    def __init__(self, keep):
        super().__init__()
        self.gate, self.norm = nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)
        self.keep = keep

    def forward(self, x):
        gate = self.norm(self.gate(x)).sigmoid()
        self.keep(self, gate)
        return self.head(gate * x)


def nothing(model, gate):
    pass


def attribute(model, gate):
    model.attention = gate


def auxiliary_loss(model, gate):
    model.gate.loss = gate.mean()
    model.head.losses = {"balance": [gate.square().mean(), gate]}


def cache(model, gate):
    model.cache = Cache([gate, gate[:, :2]])
    model.state = SimpleNamespace(cache=model.cache, step=1)


def buffer(model, gate):
    model.register_buffer("last", gate.mean(), persistent=False)


def keeping(keep):
    torch.manual_seed(0)
    return Keeping(keep)


@pytest.mark.parametrize("keep", [attribute, auxiliary_loss, cache, buffer])
@pytest.mark.parametrize(
    "name", ["snip", "grasp", "prospr", "obd", "synflow", "npb", "snip_it", "autos", *TRAINING]
)
def test_a_model_that_keeps_tensors_has_the_mask_of_one_that_keeps_none(keep, name):
    model = keeping(keep)
    model(batches()[0][0])
    expected = keeping(nothing)
    expected(batches()[0][0])
    assert same(found(model, name, batches()).mask, found(expected, name, batches()).mask)


def test_what_is_kept_is_copied_without_its_graph_and_once():
    model = keeping(cache)
    model(batches()[0][0])
    kept = working_copy(model)
    assert torch.equal(kept.cache.keys[0], model.cache.keys[0])
    assert not kept.cache.keys[0].requires_grad and kept.state.cache is kept.cache
    kept.cache.keys[0].zero_()
    assert model.cache.keys[0].all() and model.cache.keys[0].grad_fn is not None
    model.cache.keys[0].sum().backward()
    assert model.gate.weight.grad is not None
