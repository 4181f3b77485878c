"""Masks, and the rule that makes one from scores."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.errors import UserError
from pipeline.masks import Mask
from pipeline.prunable import prunable
from pipeline.selection import keep_top

shapes = st.lists(st.sampled_from([(1,), (3,), (2, 2), (4, 1, 2)]), min_size=1, max_size=4)


@st.composite
def problems(draw, values):
    """Scores per layer, an earlier mask, and how many weights to keep of it."""
    layers = draw(shapes)
    sizes = [math.prod(shape) for shape in layers]
    flat = draw(st.lists(values, min_size=sum(sizes), max_size=sum(sizes)))
    survives = draw(st.lists(st.booleans(), min_size=sum(sizes), max_size=sum(sizes)))
    survives[draw(st.integers(0, sum(sizes) - 1))] = True
    count = draw(st.integers(1, sum(survives)))
    return layers, flat, survives, count


def layered(layers, flat, dtype):
    pieces = torch.tensor(flat, dtype=dtype).split([math.prod(shape) for shape in layers])
    return {f"layer{i}": p.view(s) for i, (p, s) in enumerate(zip(pieces, layers, strict=True))}


def flattened(mask):
    return torch.cat([keep.flatten() for keep in mask.keep.values()]).tolist()


def keep(layers, flat, survives, count):
    within = Mask(layered(layers, survives, torch.bool))
    return keep_top(layered(layers, flat, torch.float64), count / within.total, within)


few_values = st.integers(-1, 1).map(float)
any_value = st.floats(allow_nan=False, width=32)


@given(st.one_of(problems(few_values), problems(any_value)))
def test_keep_top_is_a_stable_sort_of_the_survivors(problem):
    _, flat, survives, count = problem
    kept = flattened(keep(*problem))
    candidates = [i for i, alive in enumerate(survives) if alive]
    best = sorted(candidates, key=lambda i: (-flat[i], i))[:count]
    assert [i for i, kept_here in enumerate(kept) if kept_here] == sorted(best)


@given(st.one_of(problems(few_values), problems(any_value)))
def test_keep_top_keeps_exactly_as_many_as_asked_all_of_them_survivors(problem):
    _, _, survives, count = problem
    kept = flattened(keep(*problem))
    assert sum(kept) == count
    assert all(alive for alive, kept_here in zip(survives, kept, strict=True) if kept_here)


@given(st.one_of(problems(few_values), problems(any_value)))
def test_keep_top_never_keeps_a_lower_score_over_a_higher(problem):
    _, flat, survives, _ = problem
    kept = flattened(keep(*problem))
    inside = [score for score, kept_here in zip(flat, kept, strict=True) if kept_here]
    outside = [
        score
        for score, alive, kept_here in zip(flat, survives, kept, strict=True)
        if alive and not kept_here
    ]
    assert not outside or min(inside) >= max(outside)


@given(st.permutations(range(12)), st.integers(1, 12))
def test_keep_top_moves_with_the_weights_where_no_scores_tie(order, count):
    layers, survives = [(2, 2), (8,)], [True] * 12
    scores = [math.sin(i) for i in range(12)]
    kept = flattened(keep(layers, scores, survives, count))
    moved = flattened(keep(layers, [scores[i] for i in order], survives, count))
    assert moved == [kept[i] for i in order]


def test_keep_top_works_across_layers_by_hand():
    scores = {"a": torch.tensor([[5.0, 1.0], [3.0, 3.0]]), "b": torch.tensor([3.0, 4.0])}
    everything = Mask({name: torch.ones(score.shape, dtype=bool) for name, score in scores.items()})
    kept = keep_top(scores, 0.5, everything)
    assert kept.keep["a"].tolist() == [[True, False], [True, False]]
    assert kept.keep["b"].tolist() == [False, True]


def test_keep_top_ignores_the_scores_of_pruned_weights():
    scores = {"a": torch.tensor([0.0, -2.0, 9.0, -1.0])}
    within = Mask({"a": torch.tensor([False, True, False, True])})
    assert keep_top(scores, 0.25, within).keep["a"].tolist() == [False, False, False, True]


@pytest.mark.parametrize(("density", "count"), [(0.0, 0), (0.1, 0), (0.8, 3)])
def test_keep_top_refuses_to_keep_nothing_or_more_than_survive(density, count):
    within = Mask({"a": torch.tensor([True, True, False, False])})
    message = f"density {density:g} keeps {count} of 4 weights; between 1 and 2 can be kept here"
    with pytest.raises(UserError, match=message):
        keep_top({"a": torch.ones(4)}, density, within)


def test_keep_top_refuses_nan_by_layer():
    scores = {"a": torch.ones(2), "b": torch.tensor([1.0, math.nan])}
    with pytest.raises(UserError, match="the score of b is NaN"):
        keep_top(scores, 0.5, Mask({n: torch.ones(2, dtype=torch.bool) for n in scores}))


class Tied(nn.Module):
    """An autoencoder without biases: one matrix, used in two places."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(4, 4, bias=False)
        self.decode = nn.Linear(4, 4, bias=False)
        self.decode.weight = self.encode.weight
        self.read = nn.Linear(4, 2)


def test_a_tied_weight_counts_once_and_is_pruned_in_both_places():
    model = Tied()
    assert list(prunable(model)) == ["encode.weight", "read.weight"]
    mask = Mask.dense(model)
    assert mask.total == 16 + 8
    mask = Mask({name: keep.clone() for name, keep in mask.keep.items()})
    mask.keep["encode.weight"][0] = False
    mask.apply_(model)
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
