"""Concordance correlation of surviving scores."""

import numpy as np
import pytest

from autos.analyses.concordance import concordance, pairs
from autos.errors import UserError
from autos.irp.survival import Survival

X = np.random.default_rng(0).normal(size=1000)


def network(survival, *, seed=0, rounds=4, shape=(10, 10)):
    weight = np.random.default_rng(seed).normal(size=len(survival)).astype(np.float32)
    layers = [{"name": "fc.weight", "offset": 0, "shape": list(shape)}]
    about = {"densities": [0.5] * rounds, "layers": layers}
    return Survival(
        weight,
        weight,
        np.zeros((len(weight), 4), np.float32),
        np.asarray(survival, np.uint16),
        about,
    )


def test_of_scores_with_themselves_is_1():
    assert concordance(X, X) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("shift", [0.1, 1.0, -3.0])
def test_of_shifted_scores_is_the_closed_form(shift):
    want = 2 * X.var() / (2 * X.var() + shift**2)
    assert concordance(X, X + shift) == pytest.approx(want, abs=1e-12)


def test_of_opposite_scores_around_0_is_minus_1():
    centred = X - X.mean()
    assert concordance(centred, -centred) == pytest.approx(-1, abs=1e-12)


def test_of_scaled_scores_is_below_their_correlation():
    centred = X - X.mean()
    assert concordance(centred, 3 * centred) == pytest.approx(6 / 10, abs=1e-12)


@pytest.mark.parametrize("other", [np.ones(4), np.zeros(4), np.arange(4)])
def test_a_constant_agrees_with_nothing(other):
    assert concordance(np.ones(4), other) == concordance(other, np.ones(4)) == 0


def test_is_symmetric_and_takes_unsigned_integers():
    first, second = np.array([0, 1, 5], np.uint16), np.array([5, 1, 0], np.uint16)
    assert concordance(first, second) == concordance(second, first) < 0


def test_runs_of_different_length_compare_by_the_fraction_survived():
    survival = np.arange(100) % 5
    twice = network(2 * survival, rounds=8)
    (pair,) = pairs({"short": network(survival, rounds=4), "long": twice})
    assert pair.concordance == pytest.approx(1, abs=1e-12)
    assert pair.same_start


def test_networks_with_other_layers_are_left_out():
    survival = np.arange(100) % 5
    networks = {
        "a": network(survival),
        "b": network(survival, shape=(20, 5)),
        "c": network(survival[::-1], seed=1),
    }
    (pair,) = pairs(networks)
    assert (pair.first, pair.second, pair.same_start) == ("a", "c", False)
    with pytest.raises(UserError, match="no two networks with the same layers among a, b"):
        pairs({"a": networks["a"], "b": networks["b"]})
