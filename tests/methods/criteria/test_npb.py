"""Node-path balancing, against every possible solution of small layers."""

import itertools
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from autos.masks.allocation import erk
from autos.methods.criteria import CRITERIA, npb
from autos.network.initialize import initialize
from autos.network.prunable import prunable
from autos.pruning import prune

CONSTANTS = [(0.01, 1.0), (0.99, 0.001), (0.5, 0.05), (0.3, 0.0)]
"""alpha and beta."""


def all_solutions(shape, limit):
    """Every matrix M [solutions, outputs, inputs per group] of weights per kernel."""
    entries = itertools.product(range(limit + 1), repeat=shape[0] * shape[1])
    return np.array(list(entries)).reshape(-1, *shape[:2])


def objective(matrices, paths, settings, *, best=None):
    """The value of each matrix, by the formula at the top of autos/methods/criteria/npb.py."""
    _, outputs, depth = matrices.shape
    groups = len(paths) // depth
    # A weight in row j, column i of group g joins input g * depth + i to output j.
    input_of = np.arange(outputs)[:, None] // (outputs // groups) * depth + np.arange(depth)
    weighed = (matrices * paths[input_of]).sum(axis=(1, 2))
    kept = matrices[0].sum()
    kernels = (matrices > 0).sum(axis=(1, 2))
    outputs_alive = (matrices.sum(axis=2) > 0).sum(axis=1)
    inputs_alive = sum(
        (matrices[:, input_of == i].sum(axis=1) > 0).astype(int) for i in range(len(paths))
    )
    best = weighed.max() if best is None else best
    return (
        settings.alpha * (inputs_alive + outputs_alive) / (len(paths) + outputs)
        + ((1 - settings.alpha) * weighed / best if best else 0)
        + settings.beta * kernels / kept
    ), best


@pytest.mark.parametrize(("alpha", "beta"), CONSTANTS)
@pytest.mark.parametrize(
    ("shape", "groups", "limit"),
    [
        ((3, 3), 1, 1),
        ((3, 3, 2), 1, 2),
        ((3, 3, 3, 1), 1, 1),
        ((2, 3, 1, 3), 1, 3),
        ((4, 2, 2), 1, 2),
        ((3, 1, 2, 2), 3, 4),
        ((6, 1, 2), 3, 2),
        ((4, 1, 3), 4, 3),
    ],
    ids=["linear", "3x3x2", "limit-1", "2x3x3", "4x2x2", "depthwise", "multiplier", "4-deep"],
)
def test_no_matrix_is_worth_more(shape, groups, limit, alpha, beta):
    settings = npb.Settings(alpha=alpha, beta=beta, max_per_kernel=limit)
    solutions = all_solutions(shape, limit)
    sums = solutions.sum(axis=(1, 2))
    generator = torch.Generator().manual_seed(0)
    for trial in range(8):
        paths = torch.rand(shape[1] * groups, generator=generator, dtype=torch.float64)
        paths = paths**3 if trial % 2 else torch.round(3 * paths)  # uneven; with ties and zeros
        budget = int(torch.randint(1, sums.max() + 1, (), generator=generator))
        mask = npb.layer_mask(torch.Size(shape), paths, budget, generator, settings)
        assert mask.shape == shape and mask.sum() == budget
        counts = mask.flatten(2).sum(dim=2) if mask.ndim > 2 else mask
        assert counts.max() <= limit
        values, best = objective(solutions[sums == budget], paths.numpy(), settings)
        ours, _ = objective(counts.numpy()[None], paths.numpy(), settings, best=best)
        assert ours[0] == pytest.approx(values.max(), abs=1e-12), (trial, budget, paths)


def test_a_budget_beyond_the_limit_per_kernel_raises_the_limit_evenly():
    settings = npb.Settings(max_per_kernel=1)
    generator = torch.Generator().manual_seed(0)
    paths = torch.tensor([5.0, 1.0], dtype=torch.float64)
    mask = npb.layer_mask(torch.Size((3, 2, 2, 2)), paths, 14, generator, settings)
    counts = mask.flatten(2).sum(dim=2)
    assert counts.sum() == 14 and counts.max() == 3  # 14 weights in 6 kernels need 3 in some
    assert counts[:, 0].tolist() == [3, 3, 3]


def test_paths_alone_fill_the_inputs_with_most_paths():
    settings = npb.Settings(alpha=0, beta=0)
    paths = torch.tensor([1.0, 7.0, 3.0, 5.0], dtype=torch.float64)
    mask = npb.layer_mask(torch.Size((6, 4)), paths, 14, torch.Generator().manual_seed(0), settings)
    assert mask.sum(dim=0).tolist() == [0, 6, 2, 6]


@pytest.mark.parametrize("density", [0.5, 0.1, 0.02])
@pytest.mark.parametrize("name", ["mlp", "conv_net"])
def test_layers_keep_exactly_their_erk_budgets(request, name, batches, density):
    network = request.getfixturevalue(name)
    mask = prune(network, CRITERIA["npb"], batches, density=density)
    shapes = {name: weight.shape for name, weight in prunable(network).items()}
    budgets = erk(shapes, round(density * mask.total))
    assert {name: int(keep.sum()) for name, keep in mask.keep.items()} == budgets


@pytest.fixture
def seen(monkeypatch):
    """The paths that each layer was asked to solve for."""
    paths, solve = [], npb.layer_mask

    def recording(shape, into, *rest):
        paths.append(into)
        return solve(shape, into, *rest)

    monkeypatch.setattr(npb, "layer_mask", recording)
    return paths


def test_counts_the_paths_through_the_pruned_layers_of_an_mlp(seen, batches):
    layers = OrderedDict(
        flatten=nn.Flatten(),
        fc1=nn.Linear(64, 9),
        bn1=nn.BatchNorm1d(9),
        relu1=nn.ReLU(),
        fc2=nn.Linear(9, 7),
        relu2=nn.ReLU(),
        fc3=nn.Linear(7, 3),
    )
    model = initialize(nn.Sequential(layers), seed=0)
    with torch.no_grad():  # neither biases nor normalisation carry paths
        for parameter in (*model.bn1.parameters(), model.fc1.bias, model.fc2.bias):
            parameter.uniform_(-3, 3)
        model.bn1.running_var.fill_(9)
        model.bn1.running_mean.fill_(5)
    mask = prune(model, CRITERIA["npb"], batches, density=0.2)
    into = torch.ones(64, dtype=torch.float64)
    for paths, keep in zip(seen, mask.keep.values(), strict=True):
        torch.testing.assert_close(paths, into, rtol=0, atol=0)
        into = keep.double() @ into
    assert len(into.unique()) > 1


def test_counts_the_paths_at_all_positions_of_a_convolution(seen):
    layers = nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)
    model = initialize(nn.Sequential(*layers), seed=0)
    batches = [(torch.zeros(1, 2, 3, 3), torch.zeros(1, dtype=torch.long))]
    mask = prune(model, CRITERIA["npb"], batches, density=0.4)
    assert seen[0].tolist() == [9, 9]  # a channel of 3x3 ones
    per_position = mask.keep["0.weight"].flatten(1).sum(dim=1)  # no padding: all 2x2 are alike
    assert seen[1].tolist() == per_position.repeat_interleave(4).tolist()


def test_settings_reach_the_layers(batches):
    """Paths alone gather weights in the inputs with most paths; other terms spread them."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    spread, gathered = (
        prune(model, CRITERIA["npb"], batches, density=0.3, settings=settings).keep["1.weight"]
        for settings in ({}, {"alpha": 0, "beta": 0})
    )
    assert spread.sum() == gathered.sum()
    assert spread.sum(dim=(0, 2, 3)).count_nonzero() > gathered.sum(dim=(0, 2, 3)).count_nonzero()


def test_the_seed_chooses_among_equals(conv_net, batches):
    one, two = (prune(conv_net, CRITERIA["npb"], batches, density=0.2, seed=s) for s in (0, 1))
    assert any(not torch.equal(one.keep[name], two.keep[name]) for name in one.keep)


def test_paths_pass_normalisation_and_transposed_layers(seen):
    from transformers.pytorch_utils import Conv1D

    layers = nn.Linear(6, 9), nn.LayerNorm(9), Conv1D(7, 9), nn.RMSNorm(7), nn.Linear(7, 3)
    batches = [(torch.zeros(2, 6), torch.zeros(2, dtype=torch.long))]
    mask = prune(nn.Sequential(*layers), CRITERIA["npb"], batches, density=0.3)
    first, second = mask.keep["0.weight"].double(), mask.keep["2.weight"].double()
    assert second.shape == (9, 7)  # [inputs, outputs]
    one, two, three = seen
    assert one.tolist() == [1] * 6
    torch.testing.assert_close(two, first.sum(dim=1), rtol=0, atol=0)
    torch.testing.assert_close(three, second.T @ two, rtol=0, atol=0)
    assert len(three.unique()) > 1


def test_a_grouped_convolution_counts_the_paths_into_each_of_its_channels(seen):
    layers = nn.Conv1d(2, 6, 1), nn.Conv1d(6, 4, 1, groups=2), nn.Flatten(), nn.Linear(20, 3)
    batches = [(torch.zeros(2, 2, 5), torch.zeros(2, dtype=torch.long))]
    mask = prune(nn.Sequential(*layers), CRITERIA["npb"], batches, density=0.5)
    assert seen[1].tolist() == (5 * mask.keep["0.weight"].sum(dim=(1, 2))).tolist()


def test_each_projection_of_attention_counts_the_paths_of_its_own_input(seen):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(4, width) for width in (8, 6, 7))
            self.attention = nn.MultiheadAttention(8, 2, kdim=6, vdim=7)

        def forward(self, x):
            q, k, v = self.query(x), self.key(x), self.value(x)
            return self.attention(q, value=v, key=k)[0]

    batches = [(torch.zeros(2, 5, 4), torch.zeros(2, dtype=torch.long))]
    mask = prune(Attention(), CRITERIA["npb"], batches, density=0.3)
    assert [len(paths) for paths in seen] == [4, 4, 4, 8, 6, 7, 8]
    for paths, name in zip(seen[3:6], ("query", "key", "value"), strict=True):
        kept = mask.keep[f"{name}.weight"].sum(dim=1)
        assert paths.tolist() == (5 * kept).tolist()  # of five positions
    assert seen[6].tolist() == [1] * 8  # torch never calls the output projection
