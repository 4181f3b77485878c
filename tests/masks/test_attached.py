"""A mask that is attached to an optimizer, against parametrizations and plain gradients."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from autos.errors import UserError
from autos.masks.mask import Mask
from autos.network.prunable import prunable

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-2),
    "adam": partial(torch.optim.Adam, lr=1e-2, weight_decay=1e-2),
    "adamw": partial(torch.optim.AdamW, lr=1e-2, weight_decay=1e-1, amsgrad=True),
    "fused": partial(torch.optim.AdamW, lr=1e-2, fused=True),
    "rmsprop": partial(torch.optim.RMSprop, lr=1e-2, momentum=0.9, centered=True),
}


@pytest.fixture
def mask(conv_net):
    return Mask({n: torch.rand(weight.shape) < 0.4 for n, weight in prunable(conv_net).items()})


def steps(model, optimizer, number=4, clip=None):
    """Train on the same noise each time."""
    draw = torch.Generator().manual_seed(0)
    for _ in range(number):
        images = torch.randn(6, 1, 8, 8, generator=draw).to(next(model.parameters()))
        labels = torch.randint(3, (6,), generator=draw)
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()


def pruned(mask, tensors):
    return torch.cat([tensors[name][~keep] for name, keep in mask.keep.items()])


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.1])
def test_training_is_that_of_the_parametrized_model(conv_net, mask, optimizer, clip):
    # In float32, rounding is all that the gradient of a bias in front of BatchNorm consists of.
    attached, other = conv_net.double(), copy.deepcopy(conv_net)
    held = optimizer(attached.parameters())
    mask.attach(attached, held)
    steps(attached, held, clip=clip)
    mask.parametrize(other)
    steps(other, optimizer(other.parameters()), clip=clip)
    mask.unparametrize(other)
    assert attached.state_dict().keys() == other.state_dict().keys()
    for name, value in other.state_dict().items():
        torch.testing.assert_close(attached.state_dict()[name], value)
    assert not pruned(mask, prunable(attached)).any()
    assert (torch.cat([prunable(attached)[n][keep] for n, keep in mask.keep.items()]) != 0).all()


def test_after_it_is_detached_all_weights_train_and_none_is_pushed_by_what_was_before(
    conv_net, mask
):
    optimizer = OPTIMIZERS["sgd"](conv_net.parameters())
    with mask.attach(conv_net, optimizer):
        steps(conv_net, optimizer)
        weights = prunable(conv_net)
        buffers = {name: optimizer.state[w]["momentum_buffer"] for name, w in weights.items()}
        assert not pruned(mask, buffers).any()
    steps(conv_net, optimizer, number=1)
    assert (pruned(mask, {n: w.grad for n, w in weights.items()}) != 0).any()
    assert (pruned(mask, weights) != 0).any()


def test_a_value_that_is_nan_or_infinite_becomes_zero_where_it_is_pruned():
    model = nn.Linear(2, 2, bias=False)
    model.weight.data = torch.tensor([[torch.nan, 1.0], [torch.inf, 2.0]])
    mask = Mask({"weight": torch.tensor([[False, True], [False, True]])})
    mask.attach(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert model.weight.tolist() == [[0, 1], [0, 2]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_any_precision_are_held(dtype):
    model = nn.Linear(4, 3).to(dtype)
    mask = Mask({"weight": torch.rand(3, 4) < 0.5})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    mask.attach(model, optimizer)
    for _ in range(3):
        model(torch.ones(2, 4, dtype=dtype)).sum().backward()
        optimizer.step()
    assert not model.weight[~mask.keep["weight"]].any()
    assert model.weight[mask.keep["weight"]].all()


def test_weights_may_have_optimizers_of_their_own_or_be_frozen(conv_net, mask):
    conv_net.conv2.weight.requires_grad_(False)
    frozen = conv_net.conv2.weight.clone() * mask.keep["conv2.weight"]
    optimizers = [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in conv_net.children()
                  if any(p.requires_grad for p in layer.parameters())]  # fmt: skip
    mask.attach(conv_net, *optimizers)
    for _ in range(2):
        F.cross_entropy(conv_net(torch.randn(6, 1, 8, 8)), torch.randint(3, (6,))).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert not pruned(mask, prunable(conv_net)).any()
    assert conv_net.conv2.weight.equal(frozen)


def test_a_compiled_or_parallel_model_is_held_under_the_names_of_the_plain_one(conv_net, mask):
    wrapped = nn.DataParallel(conv_net)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    mask.attach(wrapped, optimizer)
    steps(wrapped, optimizer)
    assert not pruned(mask, prunable(conv_net)).any()


def test_an_optimizer_of_other_weights_is_refused_and_nothing_is_changed(conv_net, mask):
    before = copy.deepcopy(conv_net.state_dict())
    optimizer = torch.optim.SGD(copy.deepcopy(conv_net).parameters(), lr=0.1)
    with pytest.raises(UserError, match="holds none of the model's prunable weights"):
        mask.attach(conv_net, optimizer)
    with pytest.raises(UserError, match="mask does not fit the model"):
        mask.attach(nn.Linear(3, 3), optimizer)
    assert all(value.equal(before[name]) for name, value in conv_net.state_dict().items())


def test_a_tied_weight_is_one_parameter_again_after_its_parametrization():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    mask = Mask({"0.weight": torch.eye(3, dtype=torch.bool)})
    mask.parametrize(model)
    mask.unparametrize(model)
    assert model[1].weight is model[0].weight and "0.weight" in model.state_dict()
    assert model[0].weight.count_nonzero() == 3


def test_another_parametrization_is_not_removed_with_the_mask(conv_net, mask):
    mask.parametrize(conv_net)
    parametrize.register_parametrization(conv_net.fc, "weight", nn.Identity())
    with pytest.raises(UserError, match=r"Linear\.weight has another parametrization"):
        mask.unparametrize(conv_net)
    assert all(map(parametrize.is_parametrized, (conv_net.conv1, conv_net.fc)))
