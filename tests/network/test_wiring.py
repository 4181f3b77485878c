"""Which unit of which layer reaches which input of the next."""

import pytest
import torch
from torch import nn

from autos.errors import UserError
from autos.network.wiring import connections


def found(model, *shape):
    return connections(model.double().eval(), (torch.randn(2, *shape).double(), torch.zeros(2)))


def sources(call):
    """By producer, those that reach anything."""
    return {i: source.tolist() for i, source in call.sources.items() if (source >= 0).any()}


def test_a_chain_with_pooling_normalisation_and_flattening():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, groups=2),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.LayerNorm(5),
        nn.GELU(),
        nn.Linear(5, 3),
    )
    conv, hidden, last = found(model, 2, 8, 8)
    assert [call.name for call in (conv, hidden, last)] == ["0.weight", "5.weight", "8.weight"]
    assert conv.entries.tolist() == [True] * 2 and sources(conv) == {}
    assert sources(hidden) == {0: [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4}
    assert sources(last) == {1: [0, 1, 2, 3, 4]}
    assert not hidden.entries.any() and not hidden.exits.any() and last.exits.tolist() == [True] * 3


class Branches(nn.Module):
    """A residual sum, a concatenation with a shuffle, a layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv1d(3, 3, 1), nn.Conv1d(3, 2, 1)
        self.shared = nn.Linear(5, 5)
        self.unused = nn.Linear(5, 5)

    def forward(self, x):
        x = x + self.one(x)
        y = torch.cat([x, self.two(x)], dim=1).mean(dim=2).flip(1)
        return self.shared(self.shared(y))[:, :2]


def test_branches_and_shared_layers():
    one, two, first, second = found(Branches(), 3, 4)
    assert one.entries.all() and two.entries.all()
    assert sources(two) == {0: [0, 1, 2]}
    assert first.entries.tolist() == [False, False, True, True, True]
    assert sources(first) == {0: [-1, -1, 2, 1, 0], 1: [1, 0, -1, -1, -1]}
    assert first.name == second.name == "shared.weight"
    assert sources(second) == {2: [0, 1, 2, 3, 4]}
    assert second.exits.tolist() == [True, True, False, False, False]


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x):
        x = self.one(x)
        return self.two(x - x.mean(dim=1, keepdim=True))


def test_mixed_channels_and_attention_are_refused():
    with pytest.raises(UserError, match="mixes the channels"):
        found(Mixing(), 4)
    with pytest.raises(UserError, match=r"0\.in_proj_weight belongs to attention"):
        found(nn.Sequential(nn.MultiheadAttention(4, 1)), 4)
