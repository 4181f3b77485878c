"""Linear mode connectivity: barriers, interpolation, statistics of BatchNorm."""

import copy

import pytest
import torch
from torch import nn

from autos.analyses.mode_connectivity import (
    barrier,
    evaluate,
    interpolate,
    path,
    recompute_batch_norm_,
)
from autos.network.batches import cross_entropy
from autos.network.initialize import initialize


def test_a_network_is_connected_with_itself(conv_net, batches):
    same = path(conv_net, copy.deepcopy(conv_net), training=batches, test=batches, points=5)
    assert same.shares == [0, 0.25, 0.5, 0.75, 1]
    for values in (same.loss, same.error):
        height = barrier(values, same.shares)
        assert height.from_line == pytest.approx(0, abs=1e-12)
        assert height.above_mean == pytest.approx(0, abs=1e-12)


class Quadratic(nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.layer = nn.Linear(len(weights), 1, bias=False).double()
        self.layer.weight.data[0] = weights

    def forward(self, inputs):
        return torch.stack([inputs @ self.layer.weight[0], torch.zeros(len(inputs))], dim=1)


def test_a_quadratic_loss_has_the_closed_form():
    """Convex: below the line by s (1 - s) delta' A delta / 2, and its maximum is at an end."""
    generator = torch.Generator().manual_seed(0)
    inputs, first, second = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((50, 4), (4,), (4,))
    )
    test = [(inputs, torch.zeros(50, dtype=torch.long))]
    seen = path(
        Quadratic(first),
        Quadratic(second),
        training=test,
        test=test,
        points=11,
        loss=lambda output, _: output[:, 0].square().mean() / 2,
    )
    a = inputs.T @ inputs / 50  # the Hessian of the loss
    delta = first - second
    curvature = float(delta @ a @ delta) / 2
    ends = float(first @ a @ first) / 2, float(second @ a @ second) / 2
    for share, loss in zip(seen.shares, seen.loss, strict=True):
        line = share * ends[0] + (1 - share) * ends[1]
        assert line - loss == pytest.approx(share * (1 - share) * curvature, abs=1e-10)
    height = barrier(seen.loss, seen.shares)
    assert height.from_line == pytest.approx(curvature / 4, abs=1e-10)
    assert height.above_mean == pytest.approx(abs(ends[0] - ends[1]) / 2, abs=1e-10)


def test_both_barriers_by_hand():
    height = barrier([1.0, 4.0, 2.0, 3.0], [0, 1 / 3, 2 / 3, 1])
    assert height.from_line == pytest.approx(4 - 5 / 3)
    assert height.above_mean == 4 - 2


def test_all_parameters_are_interpolated_and_the_networks_untouched(conv_net):
    other = initialize(copy.deepcopy(conv_net), seed=1)
    with torch.no_grad():
        for network in (conv_net, other):
            network.bn1.weight.uniform_()
            network.bn1.bias.uniform_()
    before = copy.deepcopy(conv_net.state_dict()), copy.deepcopy(other.state_dict())
    between = dict(interpolate(conv_net, other, 0.25).named_parameters())
    theirs = dict(other.named_parameters())
    for name, ours in conv_net.named_parameters():
        torch.testing.assert_close(between[name], 0.25 * ours + 0.75 * theirs[name])
    for network, state in zip((conv_net, other), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_statistics_of_batch_norm_are_those_of_the_batches(conv_net, batches):
    """Whatever they were before; and dropout is off while they are computed."""
    model = nn.Sequential(nn.Dropout(0.5), *conv_net)
    model[2].running_mean.fill_(7)
    recompute_batch_norm_(model, batches)
    outputs = [conv_net.conv1(inputs) for inputs, _ in batches]
    mean = torch.stack([output.mean(dim=(0, 2, 3)) for output in outputs]).mean(dim=0)
    variance = torch.stack([output.var(dim=(0, 2, 3)) for output in outputs]).mean(dim=0)
    torch.testing.assert_close(model[2].running_mean, mean)
    torch.testing.assert_close(model[2].running_var, variance)
    assert not any(module.training for module in model.modules())


def test_every_point_has_statistics_of_its_own(conv_net, batches):
    """The copies' own ones do not matter, at the ends neither."""
    other = initialize(copy.deepcopy(conv_net), seed=1)
    want = path(conv_net, other, training=batches, test=batches, points=3)
    for network in (conv_net, other):
        network.bn2.running_var.fill_(100)
    assert path(conv_net, other, training=batches, test=batches, points=3) == want


def test_loss_and_error_are_means_over_samples(mlp, batches):
    """The batches differ in size."""
    assert len({len(labels) for _, labels in batches}) > 1
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    loss, error = evaluate(mlp, batches, cross_entropy)
    output = mlp(inputs).detach()
    assert loss == pytest.approx(float(nn.functional.cross_entropy(output, labels)))
    assert error == pytest.approx(float((output.argmax(1) != labels).float().mean()))
