"""Masks: what they count, their files, and every form in which a model can hold one."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from autos.errors import UserError
from autos.masks.bits import Bits
from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.network.prunable import prunable
from autos.pruning import prune


class Tied(nn.Module):
    """An autoencoder without biases: one matrix, used in two places."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(4, 4, bias=False)
        self.decode = nn.Linear(4, 4, bias=False)
        self.decode.weight = self.encode.weight
        self.read = nn.Linear(4, 2)


def test_a_tied_weight_counts_once_and_is_pruned_in_both_places(cut):
    model = Tied()
    assert list(prunable(model)) == ["encode.weight", "read.weight"]
    mask = Mask.dense(model)
    assert mask.total == 16 + 8
    cut(mask, "encode.weight", 0).apply_(model)
    assert not model.decode.weight[0].any() and model.decode.weight[1:].all()
    assert prunable(copy.deepcopy(model)).keys() == prunable(model).keys()


def test_only_weights_of_linear_and_convolution_layers_are_prunable(conv_net):
    assert list(prunable(conv_net)) == ["conv1.weight", "conv2.weight", "fc.weight"]
    assert list(prunable(nn.Linear(2, 2))) == ["weight"]
    assert not prunable(nn.Sequential(nn.Embedding(3, 3), nn.LayerNorm(3)))


@pytest.fixture
def mask(mlp):
    return Mask({name: torch.rand(weight.shape) < 0.3 for name, weight in prunable(mlp).items()})


def test_a_saved_mask_loads_as_it_was(mask, tmp_path):
    about = {"criterion": "snip", "density": 0.3, "nested": {"list": [1, 2]}}
    mask.save(tmp_path / "mask.safetensors", about)
    loaded, description = Mask.load(tmp_path / "mask.safetensors")
    assert description == about
    assert list(loaded.keep) == list(mask.keep)
    for name, kept in mask.keep.items():
        assert loaded.keep[name].dtype == torch.bool and torch.equal(loaded.keep[name], kept)


def test_saving_twice_gives_the_same_bytes(mask, tmp_path):
    for name in ("one", "two"):
        mask.save(tmp_path / name, {"b": 1, "a": 2})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "altered", "empty"])
def test_a_damaged_mask_is_refused_by_name(mask, tmp_path, damage):
    path = tmp_path / "mask.safetensors"
    mask.save(path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "truncated": content[:-5],
            "altered": content[:-1] + bytes([1 - content[-1]]),
            "empty": b"",
        }[damage]
    )
    with pytest.raises(UserError, match=r"mask\.safetensors: damaged"):
        Mask.load(path)


def test_a_missing_mask_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"mask\.safetensors: not found"):
        Mask.load(tmp_path / "mask.safetensors")


def test_a_mask_of_another_model_is_refused_by_the_layer_that_differs(mask, mlp, conv_net):
    mask.check(mlp)
    with pytest.raises(UserError, match=r"conv1\.weight is absent in the mask and \(4, 1, 3, 3\)"):
        mask.check(conv_net)
    mlp.fc2 = nn.Linear(12, 4)
    with pytest.raises(UserError, match=r"fc2\.weight is \(3, 12\) in the mask and \(4, 12\)"):
        mask.check(mlp)
    mlp.fc2 = nn.Identity()
    with pytest.raises(UserError, match=r"fc2\.weight is \(3, 12\) in the mask and absent"):
        mask.check(mlp)


def test_applying_a_mask_zeroes_the_pruned_weights_and_nothing_else(mask, mlp):
    before = copy.deepcopy(mlp.state_dict())
    mask.apply_(mlp)
    for name, tensor in mlp.state_dict().items():
        expected = before[name] * mask.keep[name] if name in mask.keep else before[name]
        assert torch.equal(tensor, expected), name


def test_counts_densities_and_empty_layers():
    mask = Mask(
        {
            "a": torch.tensor([[True, False], [False, False]]),
            "b": torch.zeros(5, dtype=torch.bool),
            "c": torch.ones(1, dtype=torch.bool),
        }
    )
    assert (mask.total, mask.kept, mask.density) == (10, 2, 0.2)
    assert mask.layer_densities() == {"a": 0.25, "b": 0.0, "c": 1.0}
    assert mask.empty_layers() == ["b"]


# --- packed bits ---


@pytest.mark.parametrize("shape", [(1,), (7,), (8,), (9,), (3, 5), (2, 3, 4), (17, 1), ()], ids=str)
def test_packed_bits_are_the_booleans_they_were_made_of(shape):
    values = torch.rand(shape) < 0.5
    bits = Bits({"a": values, "b": ~values})
    assert list(bits) == ["a", "b"] and len(bits) == 2
    assert torch.equal(bits["a"], values) and torch.equal(bits["b"], ~values)
    assert bits["a"].dtype == torch.bool
    assert len(bits.packed["a"]) == -(-values.numel() // 8)
    for value in (True, False):
        full = Bits.full({"a": values.shape}, value)
        assert torch.equal(full["a"], torch.full(shape, value))


def test_packed_bits_are_read_and_written_in_pieces():
    values = torch.rand(45) < 0.5
    bits = Bits({"a": values.view(5, 9)})
    for start, stop in ((0, 8), (8, 45), (16, 17), (40, 45), (0, 45)):
        assert torch.equal(bits.piece("a", start, stop), values[start:stop])
    bits.set_piece("a", 16, ~values[16:32])
    bits.set_piece("a", 40, ~values[40:])
    values[16:32], values[40:] = ~values[16:32], ~values[40:]
    assert torch.equal(bits["a"], values.view(5, 9))


WRITES = {
    "an index": lambda keep: keep.__setitem__(0, False),
    "a place": lambda keep: keep[0].__setitem__(0, False),
    "fill_": lambda keep: keep.fill_(False),
    "copy_": lambda keep: keep.copy_(~keep),
    "&=": lambda keep: keep.__iand__(~keep),
    "|= on a row": lambda keep: keep[0].__ior__(~keep[0]),
    "out=": lambda keep: torch.logical_not(keep, out=keep),
    "a view": lambda keep: keep.view(-1).zero_(),
    "flatten": lambda keep: keep.flatten().zero_(),
    "a transpose": lambda keep: keep.T.zero_(),
    "detach": lambda keep: keep.detach().zero_(),
    "data": lambda keep: keep.data.zero_(),
    "cpu": lambda keep: keep.cpu().zero_(),
    "to": lambda keep: keep.to("cpu", torch.bool).zero_(),
    "split": lambda keep: keep.split(1)[1].zero_(),
    "unbind": lambda keep: keep.unbind()[0].zero_(),
    "iteration": lambda keep: next(iter(keep)).zero_(),
    "expand": lambda keep: keep[:, :1].expand(2, 9).zero_(),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_read_from_a_mask_refuses_to_be_written(write):
    mask = Mask({"a": torch.rand(2, 9) < 0.5})
    keep = mask.keep["a"]
    before = keep.clone()
    with pytest.raises(UserError, match=r"a mask is read only; make a changed one, as in Mask\("):
        write(keep)
    assert torch.equal(keep, before) and torch.equal(mask.keep["a"], before)


def test_an_array_of_what_is_read_refuses_to_be_written_too():
    keep = Mask({"a": torch.ones(9, dtype=torch.bool)}).keep["a"]
    for array in (keep.numpy(), np.asarray(keep)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = False


def test_what_is_computed_from_a_mask_is_a_plain_tensor():
    keep = Mask({"a": torch.rand(2, 9) < 0.5}).keep["a"]
    weight = torch.randn(2, 9, requires_grad=True)
    for made in (~keep, keep & ~keep, keep.clone(), keep.float(), keep[[0, 1]], keep.sum(),
                 copy.deepcopy(keep), weight * keep, torch.stack([keep, keep])):  # fmt: skip
        assert type(made) is torch.Tensor
    (weight * keep).sum().backward()
    assert torch.equal(weight.grad, keep.float())
    same = weight.detach()
    product = same.mul_(keep)
    assert product is same, "writing to others under the mask is as ever"


def test_a_changed_mask_is_another_mask(cut):
    mask = Mask({"a": torch.ones(9, dtype=torch.bool), "b": torch.ones(3, dtype=torch.bool)})
    changed = cut(mask, "a", slice(4))
    assert (mask.kept, changed.kept) == (12, 8)
    assert changed.layer_densities() == {"a": 5 / 9, "b": 1.0}


def test_a_mask_is_made_of_booleans_only():
    with pytest.raises(UserError, match=r"the mask of a is torch\.float32; expected torch\.bool"):
        Mask({"a": torch.ones(3)})


@pytest.mark.parametrize("size", [1, 7, 8, 9, 64, 100])
def test_bits_are_counted_exactly_whatever_is_left_of_the_last_byte(size):
    values = torch.rand(size) < 0.5
    bits = Bits({"a": values})
    assert bits.count("a") == int(values.sum())
    shape = {"a": torch.Size([size])}
    assert (Bits.full(shape, True).count("a"), Bits.full(shape, False).count("a")) == (size, 0)


def test_packed_bits_of_a_transposed_tensor_keep_its_indices():
    values = (torch.rand(3, 5) < 0.5).T
    assert torch.equal(Bits({"a": values})["a"], values)


# --- the same mask in every form ---


class Everything(nn.Module):
    """An embedding tied to a layer, a layer tied to another, attention, a convolution."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1, groups=2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.two.weight = self.one.weight
        self.read = nn.Linear(8, 5, bias=False)
        self.read.weight = self.embed.weight

    def forward(self, tokens):
        x = self.conv(self.embed(tokens).mT).mT
        x = x + self.attention(x, x, x)[0]
        return self.read(self.two(self.one(x).tanh()))


TOKENS = torch.arange(12).view(3, 4) % 5


@pytest.fixture
def model():
    return Everything()


@pytest.fixture
def half(model):
    """A mask that keeps half of the model."""
    return Mask({name: torch.rand(w.shape) < 0.5 for name, w in prunable(model).items()})


@pytest.fixture
def applied(model, half):
    """A copy of the model with the mask applied."""
    copied = copy.deepcopy(model)
    half.apply_(copied)
    return copied


def same(one, two):
    return one.keep.keys() == two.keep.keys() and all(
        torch.equal(one.keep[name], two.keep[name]) for name in one.keep
    )


def remove_parametrizations(model):
    for module in model.modules():
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name)


def test_a_mask_survives_saving(half, tmp_path):
    half.save(tmp_path / "mask.safetensors")
    assert same(Mask.load(tmp_path / "mask.safetensors")[0], half)


def test_applying_covers_every_place_of_a_tied_weight(applied, half):
    assert applied.two.weight is applied.one.weight
    assert applied.read.weight is applied.embed.weight
    assert torch.equal(applied.embed.weight != 0, half.keep["read.weight"])


def test_applying_zeroes_even_what_is_not_a_number(mlp, mask):
    with torch.no_grad():
        mlp.fc1.weight.fill_(float("nan"))
    mask.apply_(mlp)
    assert torch.equal(mlp.fc1.weight == 0, ~mask.keep["fc1.weight"])


def test_applying_keeps_parameters_and_their_optimizer(model, half):
    before = {name: id(parameter) for name, parameter in model.named_parameters()}
    half.apply_(model)
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == before


@pytest.mark.parametrize("train", [True, False])
def test_a_parametrized_model_computes_what_the_applied_one_does(model, half, applied, train):
    half.parametrize(model.train(train))
    torch.testing.assert_close(model(TOKENS), applied.train(train)(TOKENS), rtol=0, atol=0)
    for name in ("one", "two", "read", "embed", "conv"):
        assert torch.equal(getattr(model, name).weight, getattr(applied, name).weight)
    assert torch.equal(model.attention.in_proj_weight, applied.attention.in_proj_weight)


def test_parametrizations_can_be_removed_and_leave_the_masked_weights(model, half, applied):
    half.parametrize(model)
    remove_parametrizations(model)
    assert model.state_dict().keys() == applied.state_dict().keys()
    for name, tensor in applied.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert model.two.weight is model.one.weight and model.read.weight is model.embed.weight
    assert same(Mask({name: w != 0 for name, w in prunable(model).items()}), half)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("early", [True, False], ids=["made before", "made after"])
def test_training_a_parametrized_model_keeps_the_zeros_and_moves_the_rest(
    model, half, applied, optimizer, early
):
    if early:
        step = OPTIMIZERS[optimizer](model.parameters())
    half.parametrize(model)
    if not early:
        step = OPTIMIZERS[optimizer](model.parameters())
    for _ in range(3):
        loss = nn.functional.cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.flatten())
        step.zero_grad()
        loss.backward()
        for parameter, keep in (
            (model.read.parametrizations.weight.original, half.keep["read.weight"]),
            (model.one.parametrizations.weight.original, half.keep["one.weight"]),
        ):
            assert not parameter.grad[~keep].any() and parameter.grad[keep].any()
        step.step()
    remove_parametrizations(model)
    for name, weight in prunable(model).items():
        keep = half.keep[name]
        assert not weight[~keep].any()
        assert not torch.equal(weight[keep], prunable(applied)[name][keep])


def test_a_frozen_model_stays_frozen_when_it_is_parametrized(mlp, mask):
    mask.parametrize(mlp.requires_grad_(False))
    assert not any(parameter.requires_grad for parameter in mlp.parameters())


def test_the_form_of_torch_prune_computes_what_the_applied_model_does(model, half, applied):
    half.to_torch_prune(model)
    torch.testing.assert_close(model(TOKENS), applied(TOKENS), rtol=0, atol=0)
    assert torch_prune.is_pruned(model)
    assert same(Mask.from_torch_prune(model), half)
    for module, name in ((model.conv, "weight"), (model.attention, "in_proj_weight")):
        torch_prune.remove(module, name)
    assert torch.equal(model.conv.weight, applied.conv.weight)
    assert torch.equal(model.attention.in_proj_weight, applied.attention.in_proj_weight)


def test_removing_torch_prune_everywhere_leaves_the_applied_model(model, half, applied):
    half.to_torch_prune(model)
    for module in (model.conv, model.one, model.two, model.read, model.embed):
        torch_prune.remove(module, "weight")
    torch_prune.remove(model.attention, "in_proj_weight")
    torch_prune.remove(model.attention.out_proj, "weight")
    for name, tensor in applied.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_a_model_pruned_by_torch_gives_its_mask(conv_net):
    layers = [(conv_net.conv2, "weight"), (conv_net.fc, "weight")]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.3)
    mask = Mask.from_torch_prune(conv_net)
    assert list(mask.keep) == ["conv1.weight", "conv2.weight", "fc.weight"]
    assert mask.keep["conv1.weight"].all()
    assert mask.kept == mask.total - round(0.3 * (72 + 24))
    assert torch.equal(mask.keep["fc.weight"], conv_net.fc.weight_mask.bool())
    for module, name in layers:
        torch_prune.remove(module, name)
    before = copy.deepcopy(conv_net.state_dict())
    mask.apply_(conv_net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in conv_net.state_dict().items())


def test_one_weight_pruned_in_one_of_its_places_has_no_mask():
    model = Tied()
    torch_prune.l1_unstructured(model.encode, "weight", amount=3)
    with pytest.raises(UserError, match=r"decode\.weight and encode\.weight are one weight"):
        Mask.from_torch_prune(model)


def test_pruning_what_was_removed_from_torch_prune_again_nests(conv_net, batches):
    mask = prune(conv_net, CRITERIA["magnitude"], batches, density=0.5)
    mask.parametrize(conv_net)
    remove_parametrizations(conv_net)
    again = prune(conv_net, CRITERIA["magnitude"], batches, density=0.25)
    assert all((mask.keep[name] >= again.keep[name]).all() for name in mask.keep)


@pytest.mark.parametrize("use", ["apply_", "parametrize", "to_torch_prune"])
def test_a_mask_of_another_model_is_refused_before_anything_changes(mask, conv_net, use):
    before = copy.deepcopy(conv_net.state_dict())
    with pytest.raises(UserError, match="mask does not fit the model"):
        getattr(mask, use)(conv_net)
    assert list(conv_net.state_dict()) == list(before)
    assert all(torch.equal(tensor, before[name]) for name, tensor in conv_net.state_dict().items())


def test_attention_in_the_form_of_torch_prune_trains_as_one_whose_weights_are_masked():
    attention = nn.MultiheadAttention(4, 2)
    mask = Mask({n: torch.rand(w.shape) < 0.5 for n, w in prunable(attention).items()})
    plain = copy.deepcopy(attention)
    mask.to_torch_prune(attention)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (attention, plain)]
    mask.attach(plain, optimizers[1])
    x = torch.randn(3, 2, 4)
    for _ in range(3):
        for model, optimizer in zip((attention, plain), optimizers, strict=True):
            optimizer.zero_grad()
            model(x, x, x)[0].square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(attention(x, x, x)[0], plain(x, x, x)[0])
