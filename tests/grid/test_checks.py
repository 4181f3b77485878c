"""Sanity checks: transformations of masks and of criteria."""

from dataclasses import replace

import pytest
import torch

from autos.errors import UserError
from autos.grid.checks import invert, shuffle
from autos.masks.mask import Mask
from autos.masks.selection import StreamedScores
from autos.methods.base import Criterion
from autos.methods.criteria import CRITERIA
from autos.methods.schedules import exponential
from autos.network.prunable import prunable
from autos.predictors.paper import PaperPredictor
from autos.pruning import prune


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def equal(first, second):
    return all(torch.equal(first.keep[name], second.keep[name]) for name in first.keep)


def counts(mask):
    return {name: int(keep.sum()) for name, keep in mask.keep.items()}


@pytest.fixture
def mask():
    """The first weights of two layers, in the shape of convolution and linear."""
    first = torch.arange(50 * 20 * 9).view(50, 20, 3, 3) < 2000
    return Mask({"conv.weight": first, "fc.weight": torch.arange(3000).view(30, 100) < 900})


def test_layers_keep_their_counts_at_positions_of_chance(mask):
    drawn, other = shuffle(mask, generator(0)), shuffle(mask, generator(1))
    assert counts(drawn) == counts(other) == counts(mask) and drawn.shapes == mask.shapes
    for one, two in ((drawn, mask), (drawn, other)):
        for name, density in mask.layer_densities().items():
            agreement = float((one.keep[name] == two.keep[name]).float().mean())
            assert agreement == pytest.approx(1 - 2 * density * (1 - density), abs=0.03)


def test_the_seed_decides(mask):
    assert equal(shuffle(mask, generator(3)), shuffle(mask, generator(3)))
    assert not equal(shuffle(mask, generator(3)), shuffle(mask, generator(4)))


def test_shuffling_leaves_the_mask_itself_alone(mask):
    before = Mask({name: keep.clone() for name, keep in mask.keep.items()})
    shuffle(mask, generator())
    assert equal(mask, before)


@pytest.mark.parametrize("name", ["magnitude", "snip", "grasp"])
@pytest.mark.parametrize("density", [0.1, 0.5])
def test_the_inverse_keeps_other_weights(name, density, mlp, batches):
    """Of signed scores as well: those of GraSP are. No two weights have equal scores but 0."""
    criterion = without_ties(CRITERIA[name])
    kept = prune(mlp, criterion, batches, density=density)
    lowest = prune(mlp, invert(criterion), batches, density=density)
    assert kept.kept == lowest.kept
    assert not any((kept.keep[layer] & lowest.keep[layer]).any() for layer in kept.keep)


def without_ties(criterion):
    """Dead inputs give many scores of 0: tell them apart by position."""

    def score(model, context):
        scores = criterion.score(model, context)
        return {n: s + 1e-9 * torch.arange(s.numel()).view(s.shape) for n, s in scores.items()}

    return replace(criterion, score=score)


@pytest.mark.parametrize("name", ["magnitude", "snip", "grasp", "synflow"])
def test_inverted_twice_is_the_criterion(name, mlp, batches):
    twice = invert(invert(CRITERIA[name]))
    for density in (0.05, 0.5):
        want = prune(mlp, CRITERIA[name], batches, density=density)
        assert equal(prune(mlp, twice, batches, density=density), want)


def fixed(values, **options):
    return Criterion(
        "own", lambda model, _: {name: values[name] for name in prunable(model)}, **options
    )


def test_zero_and_signs_are_in_order(mlp, batches):
    """The lowest are the most negative, then 0: the reciprocal would take the small positive."""
    values = {n: torch.linspace(1, 2, w.numel()).view(w.shape) for n, w in prunable(mlp).items()}
    flat = values["fc2.weight"].view(-1)
    flat[:5] = torch.tensor([1e-6, 0.0, -1e-6, -3.0, -float("inf")])
    total = Mask.dense(mlp).total
    mask = prune(mlp, invert(fixed(values)), batches, density=3 / total)
    assert mask.kept == 3
    assert mask.keep["fc2.weight"].view(-1)[:5].tolist() == [False, False, True, True, True]
    mask = prune(mlp, invert(fixed(values)), batches, density=4 / total)
    assert mask.keep["fc2.weight"].view(-1)[:5].tolist() == [False, True, True, True, True]


def test_scores_of_nan_are_refused_as_ever(mlp, batches):
    values = {name: torch.full(w.shape, torch.nan) for name, w in prunable(mlp).items()}
    with pytest.raises(UserError, match="is NaN"):
        prune(mlp, invert(fixed(values)), batches, density=0.5)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_scores_without_sign_are_inverted_too(dtype, mlp, batches):
    values = {n: (torch.arange(w.numel()) % 2).view(w.shape) for n, w in prunable(mlp).items()}
    criterion = fixed({name: value.to(dtype) for name, value in values.items()})
    mask = prune(mlp, invert(criterion), batches, density=0.5)
    assert all(torch.equal(mask.keep[name], value == 0) for name, value in values.items())


def test_every_round_prunes_the_highest_among_the_survivors(mlp, batches):
    seen = []

    def score(model, context):
        weights = prunable(model)
        seen.append({name: weight != 0 for name, weight in weights.items()})
        return {name: weight.detach().abs() for name, weight in weights.items()}

    rounds = Criterion("own", score, densities=lambda density, _: exponential(density, 4))
    mask = prune(mlp, invert(rounds), batches, density=0.1)
    assert equal(mask, prune(mlp, invert(CRITERIA["magnitude"]), batches, density=0.1))
    survivors = [sum(int(keep.sum()) for keep in alive.values()) for alive in seen]
    assert survivors == [mask.total, *(round(d * mask.total) for d in exponential(0.1, 4)[:-1])]


def test_streamed_scores_are_inverted_piece_by_piece(mlp, batches):
    """Those of a predictor, which has no more scores in memory than it needs."""
    criterion = PaperPredictor.load().criterion
    inverse = invert(criterion)
    kinds = []

    def score(model, context):
        scores = inverse.score(model, context)
        kinds.append(isinstance(scores, StreamedScores))
        for name, values in criterion.score(model, context).items():
            torch.testing.assert_close(scores[name], -values)
        return scores

    mask = prune(mlp, replace(inverse, score=score), batches, density=0.3)
    assert kinds == [True]
    assert equal(mask, prune(mlp, inverse, batches, density=0.3))
    assert not equal(mask, prune(mlp, criterion, batches, density=0.3))


def test_everything_else_about_the_criterion_stays():
    original, inverse = CRITERIA["synflow"], invert(CRITERIA["synflow"])
    assert replace(inverse, score=original.score) == original
