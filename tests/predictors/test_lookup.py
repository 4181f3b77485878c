"""A table: the function at its nodes, close to it in between, finite however far out."""

import pytest
import torch
from torch import nn

from autos.predictors import lookup as table
from autos.predictors.lookup import NODES, TOLERANCE, Lookup, agreement, nodes


def squashed(x):
    return x / (1 + x.abs())


class Counted:
    """A function that knows at how many points it was asked, and which."""

    def __init__(self, function):
        self.function = function
        self.asked = []

    def __call__(self, points):
        self.asked.append(points)
        return self.function(points)

    @property
    def count(self):
        return sum(len(points) for points in self.asked)


def smooth(inputs):
    return nn.Sequential(nn.Linear(inputs, 32), nn.SiLU(), nn.Linear(32, 1), nn.Flatten(0))


def kinky(inputs):
    """With kinks along lines and normalisation, as the paper's predictors; steeper than those."""
    layers = nn.Linear(inputs, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 1), nn.ReLU()
    network = nn.Sequential(*layers, nn.Flatten(0)).eval()
    nn.init.constant_(network[3].bias, 0.2)
    return network


def score(network):
    return torch.no_grad()(network)


def everywhere(function, inputs):
    """The function at all nodes [rows, columns], without asking how smooth it is."""
    axis = nodes(NODES)
    if inputs == 1:
        return function(axis[:, None])[None]
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([first.flatten(), second.flatten()], dim=1)
    return torch.cat([function(part) for part in points.split(2**17)]).view(NODES, NODES)


def typical(inputs, count=5000):
    return 2 * torch.randn(count, inputs)


# --- nodes ---


def test_nodes_rise_evenly_in_the_squashed_input_and_have_zero_in_their_middle():
    axis = nodes(NODES)
    assert axis[NODES // 2] == 0 and torch.equal(axis, -axis.flip(0))
    steps = squashed(axis.double())[1:-1].diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 2 / (NODES - 1)), atol=1e-7, rtol=0)
    assert axis[-1] == pytest.approx(NODES - 1, rel=1e-3)  # a half step from infinity


def test_every_second_node_is_one_of_half_as_many():
    assert torch.equal(nodes(65)[::2], nodes(33))


# --- what is stored ---


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize(("build", "largest"), [(smooth, TOLERANCE), (kinky, 30 * TOLERANCE)])
def test_at_the_nodes_it_is_the_function_whether_it_asked_or_not(build, largest, inputs):
    function = Counted(score(build(inputs)))
    made = Lookup.of(function, inputs)
    truth = everywhere(function.function, inputs)
    assert made.scores.shape == truth.shape
    near = nodes(NODES).abs() < 5  # farther out there are few weights, and it may be less exact
    error = (made.scores - truth).abs()[:, near]
    error = error[near] if inputs == 2 else error
    assert error.max() < largest


@pytest.mark.parametrize("build", [smooth, kinky])
def test_nodes_that_were_asked_for_hold_the_answer_to_the_bit(build):
    function = Counted(score(build(2)))
    made = Lookup.of(function, 2)
    points = torch.cat(function.asked)
    axis = nodes(NODES)
    column, row = (torch.searchsorted(axis, x.contiguous()) for x in points.unbind(1))
    assert torch.equal(axis[column], points[:, 0]) and torch.equal(axis[row], points[:, 1])
    answers = torch.cat([function.function(part) for part in function.asked])
    assert torch.equal(made.scores[row, column], answers)


@pytest.mark.parametrize("build", [smooth, kinky])
def test_it_asks_no_node_twice_and_not_all(build):
    function = Counted(score(build(2)))
    Lookup.of(function, 2)
    assert len(torch.cat(function.asked).unique(dim=0)) == function.count
    assert 65**2 < function.count < 0.9 * NODES**2


def test_it_looks_closer_around_a_kink_and_else_only_at_the_rim():
    """Apart from the kink the function is straight; at the rim, nodes stand for infinity."""
    function = Counted(lambda points: (squashed(points[:, 0]) - 0.5003).clamp(min=0))
    Lookup.of(function, 2)
    assert len(function.asked) == 6  # 33, 65, 129, 257, 513, 1025 nodes
    second, third, *_, last = (squashed(points) for points in function.asked[1:])
    assert len(second) == 65**2 - 33**2
    for level, width in ((third, 0.12), (last, 0.03)):
        inner = level[level.abs().amax(dim=1) < 1 - 1.5 * width]
        assert 0.5003 - width < inner[:, 0].min() < 0.5003 < inner[:, 0].max() < 0.5003 + width
        assert inner[:, 1].max() > 0.6 and inner[:, 1].min() < -0.6


def test_three_inputs_are_too_many():
    with pytest.raises(ValueError, match="one or two inputs, not 3"):
        Lookup.of(lambda points: points[:, 0], 3)


# --- what is read ---


@pytest.mark.parametrize("inputs", [1, 2])
def test_at_a_node_it_reads_what_is_stored_there(inputs):
    made = Lookup.of(score(kinky(inputs)), inputs)
    axis = nodes(NODES)[1:-1]
    column = torch.randint(len(axis), (3000,))
    row = torch.randint(len(axis), (3000,)) if inputs == 2 else torch.full((3000,), -1)
    read = made([axis[column], axis[row]][:inputs], [1.0] * inputs)
    stored = made.scores[row + 1, column + 1]
    torch.testing.assert_close(read, stored, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("build", "largest"), [(smooth, 5e-4), (kinky, 5e-3)])
@pytest.mark.parametrize("inputs", [1, 2])
def test_between_nodes_it_is_close_to_the_function(build, largest, inputs):
    function = score(build(inputs))
    points = typical(inputs)
    error = (Lookup.of(function, inputs)(points.unbind(1), [1.0] * inputs) - function(points)).abs()
    assert error.max() < largest and error.mean() < largest / 30


@pytest.mark.parametrize("scale", [1, 1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("inputs", [1, 2])
def test_masks_agree_with_the_function_however_close_its_scores_are(inputs, scale):
    network = kinky(inputs)
    with torch.no_grad():
        network[3].weight.mul_(scale)
    function, points = score(network), typical(inputs)
    read = Lookup.of(function, inputs)(points.unbind(1), [1.0] * inputs)
    truth = function(points)
    assert agreement(read, truth) > 0.999
    for density in (0.5, 0.1):
        count = round(density * len(points))
        both = {*read.topk(count).indices.tolist()} & {*truth.topk(count).indices.tolist()}
        assert len(both) >= 0.998 * count


def test_agreement_is_the_mean_share_of_the_kept_weights_that_both_keep():
    one, two = torch.randn(2, 200)
    two = one + 0.1 * two
    shares = []
    for count in range(3, 101):
        kept = [set(scores.topk(count).indices.tolist()) for scores in (one, two)]
        shares.append(len(kept[0] & kept[1]) / count)
    assert agreement(one, two) == pytest.approx(sum(shares) / len(shares), abs=1e-6)
    assert agreement(one, 3 * one + 1) == 1 and agreement(one, -one) == 0


def test_between_nodes_it_is_linear_in_the_squashed_inputs():
    made = Lookup.of(lambda points: squashed(points) @ torch.tensor([2.0, 1.0]), 2)
    points = typical(2)
    expected = squashed(points) @ torch.tensor([2.0, 1.0])
    torch.testing.assert_close(made(points.unbind(1), [1.0, 1.0]), expected, atol=1e-5, rtol=0)


def test_inputs_are_in_units_of_their_scales():
    made = Lookup.of(score(smooth(2)), 2)
    first, second = typical(2).unbind(1)
    plain = made([first, second], [1.0, 1.0])
    scaled = made([first * 0.125, second * 1024], [0.125, 1024.0])
    assert torch.equal(scaled, plain)
    assert not torch.allclose(made([first, second], [2.0, 1.0]), plain, atol=1e-3)


@pytest.mark.parametrize("inputs", [1, 2])
def test_far_out_it_is_finite_and_goes_on_monotonely_to_the_value_at_infinity(inputs):
    made = Lookup.of(lambda points: squashed(points).sum(dim=1), inputs)
    far = torch.tensor([0, 1, 10, 100, 500, 600, 1e3, 1e4, 1e6, 1e12, 1e30])
    for sign in (1, -1):
        read = sign * made([sign * far] * inputs, [1.0] * inputs)
        assert read.isfinite().all() and (read.diff() >= 0).all()
        assert read[-1] == sign * made.scores[0 if sign < 0 else -1, 0 if sign < 0 else -1]
        assert read[-1] == pytest.approx(inputs, abs=3 * inputs / NODES)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_of_another_precision_are_read_in_single(dtype):
    made = Lookup.of(score(smooth(2)), 2)
    values = [x.to(dtype) for x in typical(2).unbind(1)]
    read = made(values, [0.7, 1e-3])
    assert read.dtype == torch.float32
    assert torch.equal(read, made([x.float() for x in values], [0.7, 1e-3]))


@pytest.mark.parametrize("piece", [1, 7, 1000, 4096])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_value_reads_the_same_bits_in_any_company(piece, threads):
    made = Lookup.of(score(smooth(2)), 2)
    values = typical(2).unbind(1)
    whole = made(values, [1.0, 1.0])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        parts = zip(*(x.split(piece) for x in values), strict=True)
        read = torch.cat([made(part, [1.0, 1.0]) for part in parts])
    finally:
        torch.set_num_threads(before)
    assert torch.equal(read, whole)


def test_a_layer_without_weights_has_no_scores():
    made = Lookup.of(score(smooth(2)), 2)
    assert made([torch.empty(0)] * 2, [1.0, 1.0]).shape == (0,)


def test_the_finest_step_is_set_in_one_place(monkeypatch):
    monkeypatch.setattr(table, "NODES", 129)
    assert Lookup.of(score(smooth(2)), 2).scores.shape == (129, 129)
