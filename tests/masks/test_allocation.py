"""Layer sizes."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autos.errors import UserError
from autos.masks.allocation import er, erk, igq, share, smart_ratio, uniform, uniform_plus

shape = st.lists(st.integers(1, 9), min_size=2, max_size=4).map(tuple)
networks = st.lists(shape, min_size=1, max_size=6).map(
    lambda shapes: {f"layer{i}": shape for i, shape in enumerate(shapes)}
)


def size(shapes):
    return sum(map(math.prod, shapes.values()))


@given(networks, st.data())
def test_sums_to_exactly_the_budget_and_fits_every_layer(shapes, data):
    kept = data.draw(st.integers(1, size(shapes)))
    counts = erk(shapes, kept)
    assert list(counts) == list(shapes)
    assert sum(counts.values()) == kept
    assert all(0 <= counts[name] <= math.prod(shape) for name, shape in shapes.items())


@given(networks, st.data())
def test_density_is_proportional_to_sum_over_product_in_layers_that_are_not_whole(shapes, data):
    counts = erk(shapes, data.draw(st.integers(1, size(shapes))))
    scales = [  # the scale epsilon that rounding each layer up or down would allow
        ((counts[name] - 1) / sum(shape), (counts[name] + 1) / sum(shape))
        for name, shape in shapes.items()
        if counts[name] < math.prod(shape)
    ]
    if scales:
        low, high = max(low for low, _ in scales), min(high for _, high in scales)
        assert low <= high
        # A whole layer is one that needs at least this density, up to the same rounding.
        for name, shape in shapes.items():
            if counts[name] == math.prod(shape):
                assert high * sum(shape) >= math.prod(shape) - 1


def test_by_hand():
    shapes = {"a": (10, 10), "b": (20, 20), "c": (10, 30)}
    assert erk(shapes, 100) == {"a": 20, "b": 40, "c": 40}  # as 20 : 40 : 40, the sums
    assert erk(shapes, 51) == {"a": 10, "b": 21, "c": 20}  # 10.2, 20.4, 20.4; the first tie


def test_a_layer_that_becomes_whole_can_make_another_one_whole():
    shapes = {"a": (1, 1), "b": (2, 3), "c": (20, 20)}  # sums 2, 5, 40; sizes 1, 6, 400
    # a would get 2/47 of 56, 2.4 weights. Without it b gets 5/45 of 55, 6.1 weights, where it
    # would have had 5.96 before.
    assert erk(shapes, 56) == {"a": 1, "b": 6, "c": 49}


@pytest.mark.parametrize("kept", [1, 2, 2599, 2600])
def test_the_whole_network_and_nearly_nothing(kept):
    shapes = {"a": (10, 10), "b": (50, 50)}
    counts = erk(shapes, kept)
    assert sum(counts.values()) == kept
    if kept == 2600:
        assert counts == {"a": 100, "b": 2500}


@given(networks, st.data())
def test_uniform_gives_every_layer_the_same_density_up_to_one_weight(shapes, data):
    kept = data.draw(st.integers(1, size(shapes)))
    counts = uniform(shapes, kept)
    assert sum(counts.values()) == kept
    for name, shape in shapes.items():
        assert abs(counts[name] - kept * math.prod(shape) / size(shapes)) < 1 + 1e-9


def test_er_counts_channels_and_erk_kernels_too():
    shapes = {"conv": (20, 10, 3, 3), "fc": (10, 30)}
    assert er(shapes, 62) == {"conv": 54, "fc": 8}  # as (20 + 10) * 9 : 40; 53.99 and 8.01
    assert erk(shapes, 76) == {"conv": 36, "fc": 40}  # as 20 + 10 + 3 + 3 : 40


room = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, 7.0]), st.integers(0, 9)), min_size=1)


@given(room, st.data())
def test_share_is_exact_and_who_wishes_for_nothing_gets_only_what_nobody_else_can_take(pairs, data):
    wishes = {str(i): wish for i, (wish, _) in enumerate(pairs)}
    room = {str(i): places for i, (_, places) in enumerate(pairs)}
    total = data.draw(st.integers(0, sum(room.values())))
    counts = share(total, wishes, room)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] <= room[name] for name in room)
    wishing = sum(room[name] for name in room if wishes[name])
    idle = sum(counts[name] for name in room if not wishes[name])
    assert idle == max(0, total - wishing)


def test_share_by_hand():
    room = {"a": 2, "b": 10, "c": 10}
    # a is full with 2; b and c share the other 6 as 1 : 2.
    assert share(8, {"a": 9.0, "b": 1.0, "c": 2.0}, room) == {"a": 2, "b": 2, "c": 4}
    assert share(15, {"a": 0.0, "b": 1.0, "c": 0.0}, room) == {"a": 1, "b": 10, "c": 4}


@given(networks, st.data())
def test_uniform_plus_keeps_the_first_convolution_and_enough_of_the_last_layer(shapes, data):
    kept = data.draw(st.integers(1, size(shapes)))
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    convolution = next((name for name in shapes if len(shapes[name]) > 2), None)
    linear = next((name for name in reversed(shapes) if len(shapes[name]) == 2), None)
    first = sizes.get(convolution, 0)
    try:
        counts = uniform_plus(shapes, kept)
    except UserError:
        assert kept < first + math.ceil(sizes.get(linear, 0) / 5)
        return
    assert sum(counts.values()) == kept
    assert all(0 <= counts[name] <= sizes[name] for name in sizes)
    assert convolution is None or counts[convolution] == first
    if linear is not None:
        assert counts[linear] > sizes[linear] / 5 - 1  # uniform ones are rounded, too
    others = set(sizes) - {convolution, linear}
    densities = (
        [(counts[n] - 1) / sizes[n] for n in others],
        [(counts[n] + 1) / sizes[n] for n in others],
    )
    assert max(densities[0], default=0) <= min(densities[1], default=1) + 1e-9


def test_uniform_plus_by_hand():
    shapes = {"conv1": (4, 1, 5, 5), "conv2": (4, 10, 5, 5), "fc": (10, 100)}  # 100, 1000, 1000
    assert uniform_plus(shapes, 1100) == {"conv1": 100, "conv2": 500, "fc": 500}
    assert uniform_plus(shapes, 400) == {"conv1": 100, "conv2": 100, "fc": 200}  # not 150 and 150
    assert uniform_plus(shapes, 400, last=0) == {"conv1": 100, "conv2": 150, "fc": 150}
    with pytest.raises(UserError, match=r"conv1 and fc alone keep 300 weights, but .* 299 in all"):
        uniform_plus(shapes, 299)


@given(networks, st.booleans(), st.data())
def test_smart_ratio_falls_with_depth_and_sums_to_the_budget(shapes, steep, data):
    kept = data.draw(st.integers(1, size(shapes)))
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    linear = next((name for name in reversed(shapes) if len(shapes[name]) == 2), None)
    last = round(0.3 * sizes.get(linear, 0))
    if kept < last:
        with pytest.raises(UserError, match=f"alone keep {last} weights"):
            smart_ratio(shapes, kept, steep=steep)
        return
    counts = smart_ratio(shapes, kept, steep=steep)
    others = [name for name in sizes if name != linear]
    assert sum(counts.values()) == kept
    assert all(0 <= counts[name] <= sizes[name] for name in sizes)
    room = sum(sizes[name] for name in others)
    assert linear is None or counts[linear] == max(last, kept - room)
    for before, after in pairwise(others):
        assert (counts[before] + 1) / sizes[before] >= (counts[after] - 1) / sizes[after] - 1e-9


def test_smart_ratio_by_hand():
    shapes = {"conv1": (10, 10, 10), "conv2": (100, 10, 1), "conv3": (10, 10, 10), "fc": (10, 10)}
    # As 20 : 12 : 6 of layers 1 to 3 of 4; 30 for the last.
    assert smart_ratio(shapes, 410) == {"conv1": 200, "conv2": 120, "conv3": 60, "fc": 30}
    # The first has 250 too many of 1250 : 750 : 375, which just fit into the second.
    assert smart_ratio(shapes, 2405) == {"conv1": 1000, "conv2": 1000, "conv3": 375, "fc": 30}
    # Divided by 1, 4 and 9: 20 : 3 : 2/3.
    assert smart_ratio(shapes, 740, steep=True) == {
        "conv1": 600,
        "conv2": 90,
        "conv3": 20,
        "fc": 30,
    }
    assert smart_ratio(shapes, 3090)["fc"] == 90


@given(networks, st.data())
def test_igq_gives_every_layer_one_over_one_plus_its_size_times_a_common_force(shapes, data):
    kept = data.draw(st.integers(1, size(shapes)))
    counts = igq(shapes, kept)
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    assert sum(counts.values()) == kept
    forces = [  # what rounding the quota up or down would allow: n / (1 + F n) is the count
        (1 / (counts[name] + 1) - 1 / n, 1 / (counts[name] - 1) - 1 / n)
        for name, n in sizes.items()
        if counts[name] > 1
    ]
    if forces:
        assert max(low for low, _ in forces) <= min(high for _, high in forces) + 1e-9


def test_igq_solves_two_layers_in_closed_form():
    # With F = 1/20: 20 / (1 + 1) + 60 / (1 + 3) = 25, and 5 / (1 + 1/4) = 4.
    assert igq({"a": (4, 5), "b": (6, 10), "c": (5,)}, 29) == {"a": 10, "b": 15, "c": 4}
