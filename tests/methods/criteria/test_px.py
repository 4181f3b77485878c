"""PX, path exclusion: by hand, and where it is SynFlow of the squared weights."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.errors import UserError
from autos.methods.criteria import CRITERIA
from autos.network.prunable import prunable
from autos.pruning import prune

px = CRITERIA["px"].score


def test_one_hidden_layer_by_hand(context):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    model[0].weight.data[1, 2] = 0
    model[2].weight.data[0, 1] = 0  # In a dense network of ones all outputs would be the same.
    x = torch.randn(5, 3, dtype=torch.float64)
    score = px(model, context([(x, torch.zeros(5).long())]))
    one, two = (layer.weight.detach() for layer in (model[0], model[2]))
    gates = (model[0](x) > 0).double()  # [n, hidden]
    opened = ((x.square() @ (one != 0).double().T) * gates).sum(0) @ (two != 0).double().T
    opened = opened / opened.max()  # [outputs]
    # R = sum over outputs o, hidden h, inputs i of opened[o] two[o, h]^2 one[h, i]^2.
    second = opened[:, None] * two.square() * one.square().sum(1)
    first = (opened @ two.square())[:, None] * one.square()
    torch.testing.assert_close(score["0.weight"], first)
    torch.testing.assert_close(score["2.weight"], second)


def test_open_gates_and_inputs_of_one_make_it_the_flow_of_squared_weights(context):
    """All weights are positive, and so are all activations."""
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2, bias=False)
    ).double()
    for weight in prunable(model).values():
        weight.data.abs_()
    batches = [(torch.ones(2, 1, 4, 4, dtype=torch.float64), torch.zeros(2).long())]
    found = px(model, context(batches))
    for weight in prunable(model).values():
        weight.data.square_()
    flow = CRITERIA["synflow"].score(model, context(batches))
    ratios = torch.cat([(found[name] / flow[name]).flatten() for name in flow])
    torch.testing.assert_close(ratios, ratios[:1].expand_as(ratios))


WAYS = {
    "module": lambda x: nn.ReLU()(x),
    "in place": lambda x: nn.ReLU(inplace=True)(x),
    "function": F.relu,
    "torch": torch.relu,
    "in place of torch": torch.relu_,
    "method": lambda x: x.relu(),
    "in place, method": lambda x: x.relu_(),
}


class Net(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)
        self.activation = activation

    def forward(self, x):
        return self.two(self.activation(self.one(x)))


@pytest.mark.parametrize("way", WAYS)
def test_a_relu_is_a_gate_however_it_is_called(context, draws, way):
    torch.manual_seed(0)
    plain = Net(F.relu).double()
    plain.two.weight.data[0, :4] = 0
    other = Net(WAYS[way]).double()
    other.load_state_dict(plain.state_dict())
    batches = draws(9, features=6)
    expected, found = (px(model, context(batches)) for model in (plain, other))
    without = Net(lambda x: x).double()
    without.load_state_dict(plain.state_dict())
    assert any(not torch.equal(s, expected[n]) for n, s in px(without, context(batches)).items())
    for name, score in expected.items():
        torch.testing.assert_close(found[name], score)


def test_a_gelu_is_a_gate_with_its_factor(context, draws):
    batches = draws(9, features=6)
    gelu = Net(F.gelu).double()
    gelu.two.weight.data[0, :4] = 0
    ((inputs, _),) = batches
    hidden = gelu.one(inputs)
    opened = (inputs.square() @ torch.ones(6, 8).double()) * torch.special.ndtr(hidden)
    opened = opened.sum(0) @ (gelu.two.weight != 0).double().T
    second = (opened / opened.max())[:, None] * gelu.two.weight.square()
    expected = second * gelu.one.weight.square().sum(1)
    torch.testing.assert_close(px(gelu, context(batches))["two.weight"], expected.detach())


def test_what_only_closed_gates_lead_to_is_worth_nothing(context):
    model = Net(F.relu).double()
    with torch.no_grad():
        model.one.bias[0] = -1e6  # This unit is never active,
        model.two.weight[1:, :] = 0
        model.two.weight[:, 1:] = 0  # and the only one that the output hears of.
    score = px(model, context([(torch.randn(4, 6).double(), torch.zeros(4).long())]))
    assert not any(part.any() for part in score.values())


def test_more_images_are_one_sum(conv_net, batches):
    joined = [tuple(torch.cat(parts) for parts in zip(*batches, strict=True))]
    one, two = (
        prune(conv_net, CRITERIA["px"], given, density=0.2, settings={"rounds": 5})
        for given in (batches, joined)
    )
    assert all(torch.equal(one.keep[name], two.keep[name]) for name in one.keep)


def test_activations_that_come_and_go_are_refused(context):
    class Fickle(Net):
        def forward(self, x):
            x = self.one(x)
            return self.two(F.relu(x) if x.mean() < 1e3 else F.relu(F.relu(x)))

    model = Fickle(None).double()
    batches = [(100 * torch.ones(2, 6).double(), torch.zeros(2).long())]
    with pytest.raises(UserError, match="same activations in every pass"):
        px(model, context(batches))
