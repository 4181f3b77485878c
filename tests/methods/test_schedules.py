"""Densities after each round."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autos.methods.schedules import SCHEDULES, cubic, exponential, geometric, halving, linear

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


@given(density=densities, rounds=rounds)
def test_cubic_takes_ever_less_and_at_its_end_as_good_as_nothing(density, rounds):
    steps = [1, *cubic(density, rounds)]
    assert len(steps) == rounds + 1 and steps[-1] == density
    taken = [before - after for before, after in pairwise(steps)]
    assert taken == sorted(taken, reverse=True)
    assert taken[-1] == pytest.approx((1 - density) / rounds**3)


def test_cubic_is_zhu_and_guptas_by_hand():
    # Sparsity 0.9 + (0 - 0.9) * (1 - t / 2)^3 after step 1 of 2.
    assert cubic(0.1, 2) == [pytest.approx(1 - 0.9 * 7 / 8), 0.1]


@given(density=densities, pruned=st.floats(0.01, 0.9))
def test_geometric_takes_its_share_of_the_survivors_and_ends_at_the_density(density, pruned):
    steps = [1, *geometric(density, pruned)]
    *whole, last = (after / before for before, after in pairwise(steps))
    assert whole == pytest.approx([1 - pruned] * len(whole))
    assert steps[-1] == density
    assert 1 > last >= (1 - pruned) * (1 - 1e-9)
    assert len(whole) + 1 == math.ceil(math.log(density) / math.log(1 - pruned) - 1e-9)


def test_geometric_by_hand():
    assert geometric(0.5, 0.2) == [pytest.approx(v) for v in (0.8, 0.64, 0.512)] + [0.5]
    assert len(geometric(0.512, 0.2)) == 3  # though ln 0.512 / ln 0.8 is above 3 in floats
    assert geometric(1, 0.2) == []
    # Trainings that IMP takes, table 1 of the paper on pre-trained networks.
    sparsities = [0.68, 0.84, 0.92, 0.96, 0.98, 0.99]
    assert [len(geometric(1 - s, 0.2)) for s in sparsities] == [6, 9, 12, 15, 18, 21]


def test_the_paper_s_twenty_rounds_by_hand():
    assert linear(0.01, 20)[:2] == pytest.approx([0.9505, 0.901])
    assert exponential(0.01, 20)[:2] == pytest.approx([0.7943, 0.6310], abs=1e-4)


def test_halving_is_that_of_snip_it():
    assert halving(0.02, 7) == pytest.approx([0.5, 0.26, 0.14, 0.08, 0.05, 0.035, 0.02])


@given(density=st.floats(1e-4, 0.49), rounds=rounds)
def test_halving_halves_the_distance_in_every_round_but_the_last(density, rounds):
    steps = halving(density, rounds)
    assert len(steps) == rounds and steps[-1] == density
    distances = [step - density for step in steps[:-1]]
    assert all(
        after == pytest.approx(before / 2, abs=1e-15) for before, after in pairwise(distances)
    )
    assert not distances or distances[0] == pytest.approx(1 / 2 - density)


@given(density=st.floats(0.5, 1), rounds=rounds)
def test_halving_to_a_half_or_more_is_one_round(density, rounds):
    assert halving(density, rounds) == [density]
