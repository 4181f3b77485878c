"""Densities after each round."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.schedules import SCHEDULES, exponential, linear

rounds = st.integers(1, 100)
densities = st.floats(1e-4, 0.99)


@pytest.mark.parametrize("name", SCHEDULES)
@given(density=densities, rounds=rounds)
def test_falls_in_every_round_from_below_one_to_exactly_the_final_density(name, density, rounds):
    steps = SCHEDULES[name](density, rounds)
    assert len(steps) == rounds
    assert steps[-1] == density
    assert all(before > after for before, after in pairwise([1, *steps]))


@given(density=densities, rounds=rounds)
def test_linear_takes_the_same_share_of_all_weights_in_every_round(density, rounds):
    steps = [1, *linear(density, rounds)]
    for before, after in pairwise(steps):
        assert before - after == pytest.approx((1 - density) / rounds, rel=1e-9)


@given(density=densities, rounds=rounds)
def test_exponential_takes_the_same_share_of_the_survivors_in_every_round(density, rounds):
    steps = [1, *exponential(density, rounds)]
    for before, after in pairwise(steps):
        assert after / before == pytest.approx(density ** (1 / rounds), rel=1e-9)


def test_the_paper_s_twenty_rounds_by_hand():
    assert linear(0.01, 20)[:2] == pytest.approx([0.9505, 0.901])
    assert exponential(0.01, 20)[:2] == pytest.approx([0.7943, 0.6310], abs=1e-4)
