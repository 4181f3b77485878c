"""Synaptic flow, against closed forms, of models whose inputs and outputs have any form."""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from autos.errors import UserError
from autos.methods import METHODS
from autos.network.batches import ones
from autos.network.flow import flow_
from autos.pruning import prune


@dataclass
class Pair:
    ids: torch.Tensor
    one: torch.Tensor
    two: torch.Tensor


class Named(NamedTuple):
    ids: torch.Tensor
    one: torch.Tensor
    two: torch.Tensor


OUTPUTS = {
    "tuple": lambda ids, one, two: (one, two),
    "nested": lambda ids, one, two: [ids, {"a": (one,), "b": two}],
    "dictionary": lambda ids, one, two: {"logits": one, "boxes": two, "loss": one.sum() ** 3},
    "dataclass": Pair,
    "named tuple": Named,
}


class Heads(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form
        self.stem, self.one, self.two = nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(3, 5)

    def forward(self, x):
        x = self.stem(x)
        return OUTPUTS[self.form](x.argmax(dim=1), self.one(x), self.two(x))


def closed_form(stem, bias, heads):
    """Flow through |W_2| (|W_1| 1 + |b_1|) for all heads at once, by the definition."""
    inputs = torch.ones(stem.shape[1], dtype=stem.dtype)
    hidden = stem.abs() @ inputs + bias.abs()
    into = sum(head.abs().sum(dim=0) for head in heads)
    return stem.abs() * into[:, None], [head.abs() * hidden for head in heads]


@pytest.mark.parametrize("form", OUTPUTS)
def test_the_flow_is_that_of_all_floating_point_outputs(form):
    torch.manual_seed(0)
    model = Heads(form).double()
    heads = [model.one.weight.detach().clone(), model.two.weight.detach().clone()]
    first, others = closed_form(
        model.stem.weight.detach().clone(), model.stem.bias.detach().clone(), heads
    )
    flow = flow_(model, (torch.randn(6, 4).double(), torch.zeros(6)))
    torch.testing.assert_close(flow["stem.weight"], first)
    torch.testing.assert_close(flow["one.weight"], others[0])
    torch.testing.assert_close(flow["two.weight"], others[1])


def test_an_output_that_no_weight_reaches_is_told():
    class Constant(nn.Linear):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(UserError, match="nothing flows from the weights to the model's output"):
        flow_(Constant(4, 2), (torch.randn(3, 4), torch.zeros(3)))


# --- samples ---


class Graph:
    """As the batches of graph libraries: nodes, edges and labels, in one object."""

    def __init__(self, x, edge_index, y):
        self.x, self.edge_index, self.y = x, edge_index, y

    def to(self, device):
        return Graph(self.x.to(device), self.edge_index.to(device), self.y.to(device))


class Edges(nn.Module):
    """Sums over the neighbours in front of a linear layer."""

    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 2, bias=False)

    def forward(self, x, edge_index):
        sums = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]])
        return self.lin(sums)


class OfGraph(Edges):
    def forward(self, graph):
        return super().forward(graph.x, graph.edge_index)


class Adjacent(Edges):
    def forward(self, x, adjacency):
        return self.lin(adjacency @ x)


X, Y = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 0])
EDGES = torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 2, 0]])
ADJACENCY = torch.zeros(5, 5).index_put((EDGES[1], EDGES[0]), torch.tensor(0.3))
GRAPHS = {
    "edges": (Edges, ((X, EDGES), Y), 7),
    "edges by name": (Edges, {"x": X, "edge_index": EDGES, "labels": Y}, 7),
    "object": (OfGraph, Graph(X, EDGES, Y), 7),
    "object and labels": (OfGraph, (Graph(X, EDGES, Y), Y), 7),
    "sparse": (Adjacent, ((X, ADJACENCY.to_sparse()), Y), 7),
    "compressed": (Adjacent, ((X, ADJACENCY.to_sparse_csr()), Y), 7),
    "dense": (Adjacent, ((X, ADJACENCY), Y), 25),
}


@pytest.mark.parametrize("form", GRAPHS)
@pytest.mark.filterwarnings("ignore:Sparse CSR")
def test_a_graph_is_kept_whole_and_its_flow_counts_its_edges(form):
    kind, batch, edges = GRAPHS[form]
    model = kind()
    expected = edges * model.lin.weight.detach().abs()
    torch.testing.assert_close(flow_(copy.deepcopy(model), batch)["lin.weight"], expected)
    mask = prune(model, METHODS["synflow"], [batch], density=0.5)
    kept = model.lin.weight.abs()[mask.keep["lin.weight"]]
    assert kept.min() >= model.lin.weight.abs()[~mask.keep["lin.weight"]].max()


def test_an_image_without_an_axis_of_samples_is_kept_whole():
    image = torch.randn(3, 4, 4)
    for labels in (torch.tensor(1), torch.tensor([1])):
        assert torch.equal(ones((image, labels))[0], torch.ones(3, 4, 4))
    boxes = {"image": image, "boxes": torch.randn(7, 4), "labels": torch.zeros(7)}
    assert torch.equal(ones(boxes)["image"], torch.ones(3, 4, 4))
    images = ([image, image[:, :2]], torch.tensor([0, 1]))
    assert [part.shape for part in ones(images)[0]] == [(3, 4, 4), (3, 2, 4)]


def test_packed_and_nested_samples_are_kept_whole():
    parts = [torch.randn(3, 2), torch.randn(2, 2)]
    packed, _ = ones((pack_sequence(parts), torch.tensor([0, 1])))
    assert torch.equal(packed.data, torch.ones(5, 2))
    assert torch.equal(packed.batch_sizes, torch.tensor([2, 2, 1]))
    nested, _ = ones((torch.nested.nested_tensor(parts), torch.tensor([0, 1])))
    assert [torch.equal(part, torch.ones_like(part)) for part in nested.unbind()] == [True, True]


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_flow_from_input_to_output(layout):
    parts = [torch.randn(3, 4), torch.randn(2, 4)]
    batch = (torch.nested.nested_tensor(parts, layout=layout), torch.tensor([0, 1]))
    model = nn.Linear(4, 2, bias=False)
    expected = 5 * model.weight.detach().abs()
    torch.testing.assert_close(flow_(model, batch)["weight"], expected)


@pytest.mark.parametrize("form", ["sparse", "nested"])
def test_walks_refuse_inputs_that_torch_has_no_derivative_along(form):
    nested = torch.nested.nested_tensor([X, X[:2]], layout=torch.jagged)
    model, batch = {
        "sparse": (Adjacent(), GRAPHS["sparse"][1]),
        "nested": (nn.Linear(3, 2), (nested, Y[:2])),
    }[form]
    with pytest.raises(UserError, match="an input is sparse or nested"):
        prune(model, METHODS["phew"], [batch], density=0.5)


@pytest.mark.parametrize("method", ["synflow", "npb", "phew"])
def test_methods_without_data_count_the_edges_of_a_graph_alike(method):
    model = Edges()
    mask = prune(model, METHODS[method], [((X, EDGES), Y)], density=0.5)
    assert mask.kept == 3
