"""PHEW: every kept weight lies on a path that a walk can take."""

import copy

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from autos.errors import UserError
from autos.methods.criteria import CRITERIA
from autos.methods.criteria.phew import END, START, Graph, Walker
from autos.network.initialize import initialize
from autos.network.prunable import prunable
from autos.network.wiring import connections
from autos.pruning import prune

PHEW = CRITERIA["phew"]


def chain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 3))


def grouped():
    convolutions = nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 12, 3, groups=3), nn.BatchNorm2d(12)
    return nn.Sequential(*convolutions, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48, 3))


def residual():
    down = nn.Sequential(nn.Conv2d(4, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8))
    blocks = BasicBlock(4, 4), BasicBlock(4, 8, stride=2, downsample=down)
    pool = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *blocks, *pool, nn.Linear(8, 3))


def flow(model, mask):
    """How many paths of kept weights each kept weight lies on."""
    counting = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for name, parameter in counting.named_parameters():
            parameter.fill_(0 if name.endswith("bias") else 1)
    mask.apply_(counting)
    weights = prunable(counting)
    paths = counting(torch.ones(1, 1, 8, 8).double()).sum()
    gradients = torch.autograd.grad(paths, list(weights.values()))
    return {name: g[mask.keep[name]] for name, g in zip(weights, gradients, strict=True)}


@pytest.mark.parametrize("density", [0.05, 0.1, 0.31, 0.7])
@pytest.mark.parametrize("network", [chain, grouped, residual])
def test_every_kept_weight_lies_on_a_path(network, density, batches):
    model = initialize(network(), seed=0)
    for seed in range(3):
        mask = prune(model, PHEW, batches, density=density, seed=seed)
        assert mask.kept == round(density * mask.total)
        for name, paths in flow(model, mask).items():
            assert bool((paths > 0).all()), name


def graph_of(model, *shape):
    model = model.double()
    weights = {name: weight.detach().clone() for name, weight in prunable(model).items()}
    return Graph(connections(model, (torch.ones(1, *shape).double(), torch.zeros(1))), weights)


@pytest.mark.parametrize("forward", [True, False])
def test_walks_take_weights_in_proportion_to_their_magnitude(forward):
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    first = torch.tensor([[4.0, -1.0], [-4.0, 1.0], [2.0, 8.0]])
    second = torch.tensor([[1.0, -3.0, 6.0], [3.0, 3.0, -2.0]])
    with torch.no_grad():
        model[0].weight.copy_(first)
        model[2].weight.copy_(second)
    graph = graph_of(model, 2)
    generator = torch.Generator().manual_seed(0)
    if forward:
        walker = Walker(graph.source, graph.target, graph.leave, goal=END, generator=generator)
        edge = (graph.source == START).nonzero()[0]  # to the first input
        column = first[:, 0].abs() / 10
        expected = column[:, None], column * (second.abs() / second.abs().sum(dim=0))
    else:
        walker = Walker(graph.target, graph.source, graph.arrive, goal=START, generator=generator)
        edge = (graph.target == END).nonzero()[0]  # from the first output
        row = second[0].abs() / 10
        expected = row[:, None] * (first.abs() / first.abs().sum(dim=1, keepdim=True)), row[None]
    n = 20_000
    trail = walker.walk(edge.expand(n))
    weights = graph.weight[trail[trail >= 0]]
    counts = torch.bincount(weights[weights >= 0], minlength=12) / n
    one, two = torch.zeros(3, 2), torch.zeros(2, 3)
    (one[:, :1] if forward else one)[:] = expected[0]
    (two if forward else two[:1])[:] = expected[1]
    probability = torch.cat([one.flatten(), two.flatten()])
    deviation = (probability * (1 - probability) / n).sqrt()
    assert bool(((counts - probability).abs() <= 4.5 * deviation).all())


def test_walks_start_at_all_inputs_and_outputs_in_turn(mlp, batches):
    mask = prune(mlp, PHEW, batches, density=0.35)  # at least 140 walks of 2 weights
    assert mask.keep["fc1.weight"].any(dim=0).all()
    assert mask.keep["fc2.weight"].any(dim=1).all()


def test_a_few_weights_still_form_paths(batches):
    model = initialize(chain(), seed=0)
    weight = model[1].weight
    with torch.no_grad():
        model[3].weight[:, 1:] = 0  # one hidden unit carries every path
    mask = prune(model, PHEW, batches, density=4 / 804)
    kept = mask.keep["1.weight"]
    assert kept.sum() + mask.keep["3.weight"].sum() == 4
    assert kept.nonzero()[:, 0].unique().tolist() == [0] and bool((weight[kept] != 0).all())


def test_a_density_of_less_than_a_path_is_refused(mlp, batches):
    with pytest.raises(UserError, match=r"keeps 1 of 804 weights: a path .* has more"):
        prune(mlp, PHEW, batches, density=1 / 804)


def test_a_layer_that_no_path_passes_is_refused_by_name(mlp, batches):
    with torch.no_grad():
        mlp.fc1.weight.zero_()
    with pytest.raises(UserError, match=r"phew cannot walk through fc1\.weight"):
        prune(mlp, PHEW, batches, density=0.5)
