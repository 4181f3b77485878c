"""The rule that makes a mask from scores, against a plain sort."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autos.errors import UserError
from autos.masks import selection
from autos.masks.mask import Mask
from autos.masks.selection import StreamedScores, keep_top

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


@pytest.fixture(params=[(8, 0), (8, 0.3), (64, 0), (64, 1)], ids=str)
def pieces(request, monkeypatch):
    """Small pieces, and from which share on candidates are held rather than counted by digits."""
    piece, few = request.param
    monkeypatch.setattr(selection, "PIECE", piece)
    monkeypatch.setattr(selection, "FEW", few)
    return piece


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]

SPECIAL = [0.0, -0.0, math.inf, -math.inf, 1.0, -1.0, 1e-40, -1e-40, 5e-324, -5e-324, 6e-8, 3e38]
"""Zeros, infinities and subnormals of all four precisions."""


class Streamed(StreamedScores):
    def __init__(self, scores):
        self.scores = scores

    def pieces(self, name):
        yield from self.scores[name].flatten().split(selection.PIECE)

    def __getitem__(self, name):
        raise AssertionError("streamed scores are read in pieces")

    def __iter__(self):
        return iter(self.scores)

    def __len__(self):
        return len(self.scores)


def by_sorting(scores, count, within):
    """Names and positions of the `count` best candidates, the earlier of equal ones."""
    values = [
        (-float(value), order, name, position)
        for order, name in enumerate(scores)
        for position, value in enumerate(scores[name].flatten())
        if within[name].flatten()[position]
    ]
    return {(name, position) for _, _, name, position in sorted(values, key=lambda v: v[0])[:count]}


def positions(mask):
    return {
        (name, int(position))
        for name, keep in mask.keep.items()
        for position in keep.flatten().nonzero()
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["normal", "ties", "special", "equal", "tiny range"])
@pytest.mark.parametrize("holes", [False, True], ids=["all", "holes"])
def test_keep_top_sorts_scores_of_any_kind_in_pieces_of_any_size(pieces, dtype, kind, holes):
    generator = torch.Generator().manual_seed(0)
    sizes = [1, pieces - 1, pieces, pieces + 1, 3 * pieces + 5]

    def draw(n):
        if kind == "ties":
            return torch.randint(-2, 3, (n,), generator=generator)
        if kind == "special":
            values = torch.tensor(SPECIAL, dtype=torch.float64)
            return values[torch.randint(len(values), (n,), generator=generator)]
        if kind == "equal":
            return torch.full((n,), -3.0)
        scale = 2.0**-20 if kind == "tiny range" else 1
        return 1 + scale * torch.randn(n, generator=generator, dtype=torch.float64)

    scores = {f"layer{i}": draw(n).to(dtype) for i, n in enumerate(sizes)}
    within = {
        name: torch.rand(len(values), generator=generator) < (0.6 if holes else 2)
        for name, values in scores.items()
    }
    mask = Mask(within)
    for count in (1, 2, mask.kept // 3, mask.kept - 1, mask.kept):
        kept = keep_top(scores, count / mask.total, mask)
        assert positions(kept) == by_sorting(scores, count, within)
        streamed = keep_top(Streamed(scores), count / mask.total, mask)
        assert positions(streamed) == positions(kept)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_minus_zero_and_zero_tie(pieces, count):
    scores = {"a": torch.tensor([-0.0, 0.0, -0.0, 0.0])}
    everything = Mask({"a": torch.ones(4, dtype=torch.bool)})
    for form in (scores, Streamed(scores)):
        kept = keep_top(form, count / 4, everything).keep["a"]
        assert kept.tolist() == [position < count for position in range(4)]


def test_a_mask_of_a_mask_of_packed_bits_is_nested(pieces):
    scores = {"a": torch.randn(3 * pieces + 3), "b": torch.randn(5, 7)}
    mask = Mask({name: torch.ones(score.shape, dtype=torch.bool) for name, score in scores.items()})
    for density in (0.9, 0.5, 0.1):
        below = keep_top({name: -score for name, score in scores.items()}, density, mask)
        assert below.kept == round(density * mask.total)
        assert positions(below) <= positions(mask)
        mask = below


@pytest.mark.parametrize("streamed", [False, True])
def test_nan_far_inside_a_layer_is_found_and_named(pieces, streamed):
    scores = {"a": torch.ones(5), "b": torch.ones(3 * pieces)}
    scores["b"][2 * pieces + 1] = math.nan
    everything = Mask({n: torch.ones(s.shape, dtype=torch.bool) for n, s in scores.items()})
    with pytest.raises(UserError, match="the score of b is NaN"):
        keep_top(Streamed(scores) if streamed else scores, 0.5, everything)


def test_scores_need_not_be_contiguous_and_count_in_the_order_of_their_index():
    score = torch.arange(12.0).view(3, 4).T
    everything = Mask({"a": torch.ones(4, 3, dtype=torch.bool)})
    assert torch.equal(keep_top({"a": score}, 0.5, everything).keep["a"], score > 5)
