"""Which weights are prunable, and where each of them has its units and inputs."""

import warnings

import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F
from transformers.models.aria.modeling_aria import AriaExperts
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from transformers.models.llama4.modeling_llama4 import Llama4TextExperts
from transformers.models.mixtral.modeling_mixtral import MixtralExperts
from transformers.pytorch_utils import Conv1D

from autos.analyses.effective_paths import by_unit, effective
from autos.errors import UserError
from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.network.flow import flow_
from autos.network.prunable import LAYERS, coverage, layouts, prunable, uncovered
from autos.network.working_copy import working_copy
from autos.pruning import CoverageWarning, prune

# --- where units and inputs are ---

ONE_WEIGHT = {
    "linear": (lambda: nn.Linear(6, 4), (6,)),
    "conv1d": (lambda: nn.Conv1d(6, 4, 3, padding=1), (6, 5)),
    "grouped": (lambda: nn.Conv2d(6, 4, 3, groups=2, padding=1), (6, 5, 5)),
    "conv3d": (lambda: nn.Conv3d(6, 4, (3, 1, 1)), (6, 3, 2, 2)),
    "transposed1d": (lambda: nn.ConvTranspose1d(6, 4, 3), (6, 5)),
    "transposed2d": (lambda: nn.ConvTranspose2d(6, 4, 3, stride=2), (6, 4, 4)),
    "transposed_groups": (lambda: nn.ConvTranspose2d(6, 4, 3, groups=2), (6, 4, 4)),
    "transposed_depthwise": (lambda: nn.ConvTranspose2d(6, 6, 3, groups=6), (6, 4, 4)),
    "transposed3d": (lambda: nn.ConvTranspose3d(6, 4, (1, 3, 2)), (6, 2, 3, 3)),
    "conv1d of transformers": (lambda: Conv1D(4, 6), (6,)),
}


@pytest.mark.parametrize("name", ONE_WEIGHT)
def test_a_row_is_what_a_unit_depends_on_and_a_column_what_depends_on_an_input(name):
    make, shape = ONE_WEIGHT[name]
    layer, x = make(), torch.rand(1, *shape, requires_grad=True)
    layout, axis = layouts(layer)["weight"], 1 if layer.weight.ndim > 2 else -1
    rows = layout.by_unit(layer.weight)
    units = layer(x).movedim(axis, 0)
    assert len(units) == len(rows)
    for index, unit in enumerate(units):
        (gradient,) = torch.autograd.grad(unit.sum(), layer.weight, retain_graph=True)
        depends = layout.by_unit(gradient).flatten(1).any(dim=1)
        assert depends.nonzero().flatten().tolist() == [index]
    groups = getattr(layer, "groups", 1)
    for column in range(rows.shape[1]):
        only = torch.zeros_like(rows)
        only[:, column] = 1
        with torch.no_grad():
            layer.weight.copy_(layout.restored(only))
        for index, unit in enumerate(layer(x).movedim(axis, 0)):
            (gradient,) = torch.autograd.grad(unit.sum(), x, retain_graph=True)
            inputs = gradient.movedim(axis, 0).flatten(1).any(dim=1).nonzero().flatten()
            group = index // (len(rows) // groups)
            assert inputs.tolist() == [group * rows.shape[1] + column]


def test_a_bilinear_layer_has_an_input_for_each_product():
    layer = nn.Bilinear(3, 2, 4, bias=False)
    one, two = torch.rand(1, 3), torch.rand(1, 2)
    products = (one[0, :, None] * two[0]).flatten()
    rows = layouts(layer)["weight"].by_unit(layer.weight)
    torch.testing.assert_close(rows @ products, layer(one, two)[0])


RECURRENT = {
    "lstm": (nn.LSTM, {}),
    "gru of two layers in both directions": (nn.GRU, {"num_layers": 2, "bidirectional": True}),
    "projected": (nn.LSTM, {"proj_size": 3, "num_layers": 2}),
    "rnn": (nn.RNN, {"bias": False}),
    "lstm cell": (nn.LSTMCell, {}),
    "gru cell": (nn.GRUCell, {}),
    "rnn cell": (nn.RNNCell, {}),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_all_matrices_of_recurrent_layers_count_with_a_row_for_each_gate_of_a_unit(name):
    kind, options = RECURRENT[name]
    layer = kind(4, 5, **options)
    matrices = {name: p for name, p in layer.named_parameters() if p.ndim == 2}
    assert prunable(layer).keys() == matrices.keys() and coverage(layer) == 1
    assert all(prunable(layer)[name] is matrix for name, matrix in matrices.items())
    for name, layout in layouts(layer).items():
        assert torch.equal(layout.by_unit(matrices[name]), matrices[name])


def stacked(config, kind):
    torch.manual_seed(0)
    experts = kind(config)
    for parameter in experts.parameters():
        nn.init.normal_(parameter)
    return experts


MOE = {"hidden_size": 4, "intermediate_size": 6, "num_local_experts": 3}
EXPERTS = {
    "mixtral": (lambda: stacked(transformers.MixtralConfig(**MOE), MixtralExperts), False),
    "gpt_oss": (lambda: stacked(transformers.GptOssConfig(**MOE), GptOssExperts), True),
    "llama4": (lambda: stacked(transformers.Llama4TextConfig(**MOE), Llama4TextExperts), True),
}


@pytest.mark.parametrize("name", EXPERTS)
def test_stacked_experts_of_transformers_lie_one_below_the_other(name):
    make, inputs_first = EXPERTS[name]
    experts = make()
    assert list(prunable(experts)) == ["gate_up_proj", "down_proj"]
    for name, layout in layouts(experts).items():
        weight = prunable(experts)[name]
        per_expert = [matrix.T if inputs_first else matrix for matrix in weight]
        assert torch.equal(layout.by_unit(weight), torch.cat(per_expert))
        outputs = 12 if name == "gate_up_proj" else 4
        assert layout.by_unit(weight).shape == (3 * outputs, weight[0].numel() // outputs)


def test_what_transformers_says_of_its_experts_is_what_the_patterns_know():
    assert AriaExperts.__name__.endswith("Experts")
    assert stacked(transformers.MixtralConfig(**MOE), MixtralExperts).is_transposed is False
    assert stacked(transformers.GptOssConfig(**MOE), GptOssExperts).is_transposed is True


@pytest.mark.parametrize(
    "make",
    [make for make, _ in [*ONE_WEIGHT.values(), *EXPERTS.values()]]
    + [lambda: nn.Bilinear(3, 2, 4), lambda: nn.MultiheadAttention(4, 2)],
)
def test_restoring_undoes_the_order_by_unit(make):
    layer = make()
    weights = prunable(layer)
    for name, layout in layouts(layer).items():
        assert torch.equal(layout.restored(layout.by_unit(weights[name])), weights[name])


# --- methods on these layers ---


class Upsampling(nn.Module):
    """A decoder with groups, a skip and a layer that is told its output's size."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, stride=2, bias=False)
        self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2, bias=False)
        self.last = nn.ConvTranspose2d(6, 3, 3, padding=1, bias=False)

    def forward(self, x):
        return self.last(self.up(self.down(x).relu(), output_size=x.shape[-2:]).relu())


IMAGES = [(torch.rand(4, 2, 8, 8), torch.randint(3, (4, 8, 8)))]


def test_as_much_flows_through_a_transposed_convolution_as_through_the_network():
    model = working_copy(Upsampling(), double=True)
    absolute = working_copy(model, double=True)
    with torch.no_grad():
        for parameter in absolute.parameters():
            parameter.abs_()
    whole = absolute(torch.ones(1, 2, 8, 8, dtype=torch.float64)).sum()
    for flow in flow_(model, (IMAGES[0][0].double(), IMAGES[0][1])).values():
        torch.testing.assert_close(flow.sum(), whole.detach())


def test_every_weight_that_walks_keep_in_transposed_convolutions_lies_on_a_path():
    mask = prune(Upsampling(), CRITERIA["phew"], IMAGES, density=0.2)
    found = effective(Upsampling(), mask, (2, 8, 8)).mask
    assert found.kept == mask.kept == round(0.2 * mask.total)
    rows = by_unit(Upsampling(), mask)
    assert {name: tuple(units.shape) for name, units in rows.items()} == {
        "down.weight": (4, 18), "up.weight": (6, 18), "last.weight": (3, 54)
    }  # fmt: skip


def test_recurrent_layers_are_no_sum_over_paths_and_refused_where_paths_count():
    model = nn.Sequential(nn.Linear(3, 3), nn.GRU(3, 3))
    for count in (
        lambda: prune(model, CRITERIA["phew"], [(torch.rand(2, 4, 3), torch.ones(2))], density=0.5),
        lambda: effective(model, Mask.dense(model), (4, 3)),
    ):
        with pytest.raises(UserError, match=r"belongs to GRU|with recurrent layers is no sum"):
            count()


class Reader(nn.Module):
    """An LSTM of two layers over [n, length, 4], and a class for each sequence."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(4, 6, num_layers=2, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def test_a_masked_recurrent_layer_computes_with_the_zeros_in_every_form():
    torch.manual_seed(0)
    model = Reader()
    x, y = torch.rand(5, 7, 4), torch.arange(5) % 3
    mask = prune(model, CRITERIA["snip"], [(x, y)], density=0.1)
    assert mask.kept == round(0.1 * sum(p.numel() for p in model.parameters() if p.ndim > 1))
    expected = working_copy(model)
    mask.apply_(expected)
    for hold in (Mask.parametrize, Mask.to_torch_prune):
        held = working_copy(model)
        hold(mask, held)
        torch.testing.assert_close(held(x), expected(x), rtol=0, atol=0)
    steps = torch.optim.SGD(expected.parameters(), lr=0.1)
    held = working_copy(model)
    mask.parametrize(held)
    others = torch.optim.SGD(held.parameters(), lr=0.1)
    for _ in range(3):
        for net, step in ((expected, steps), (held, others)):
            step.zero_grad()
            F.cross_entropy(net(x), y).backward()
            step.step()
        mask.apply_(expected)
    torch.testing.assert_close(held(x), expected(x))


# --- what a mask covers ---


class Words(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 10)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.norm(self.embed(x)))


TEXTS = [(tokens := torch.randint(10, (3, 5)), tokens.roll(1, 1))]


def test_the_share_of_weights_that_a_mask_covers_is_told_and_what_stays_whole_named():
    model = Words(tied=False)
    assert coverage(model) == 0.5 and list(uncovered(model)) == ["embed.weight"]
    expected = r"covers 50\.0 % of the network's weights: embed\.weight stay whole; .*LAYERS"
    with pytest.warns(CoverageWarning, match=expected) as caught:
        prune(model, CRITERIA["snip"], TEXTS, density=0.5)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("model", [Words(tied=True), Reader(), nn.Linear(4, 2)])
def test_a_mask_of_all_weights_is_given_without_a_word(model):
    assert coverage(model) == 1 and not uncovered(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prune(model, CRITERIA["magnitude"], [], density=0.5)


def test_a_long_list_of_what_stays_whole_is_cut():
    model = nn.ModuleList([nn.Linear(2, 2), *(nn.Embedding(2, size) for size in range(1, 6))])
    with pytest.warns(CoverageWarning, match=r": 5\.weight, 4\.weight, 3\.weight and 2 more stay"):
        prune(model, CRITERIA["magnitude"], [], density=0.5)


def test_a_type_of_ones_own_and_embeddings_are_prunable_once_the_registry_knows_them(monkeypatch):
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Parameter(torch.randn(2, 4, 3))

        def forward(self, x):
            return torch.einsum("ni,sio->nso", x, self.up).sum(dim=1)

    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(0, 1), Stack())
    batch = (TEXTS[0][0], torch.randint(3, (15,)))
    monkeypatch.setitem(LAYERS, Stack, {"up": "sio"})
    monkeypatch.setitem(LAYERS, nn.Embedding, {"weight": "io"})
    assert coverage(model) == 1
    mask = prune(model, CRITERIA["snip"], [batch], density=0.25)
    F.cross_entropy(model(batch[0]), batch[1]).backward()
    scores = torch.cat([(p * p.grad).flatten() for p in model.parameters()]).abs()
    kept = torch.cat([keep.flatten() for keep in mask.keep.values()])
    assert mask.kept == 16 == int(kept.sum())
    assert scores[kept].min() >= scores[~kept].max()
    assert layouts(model)["2.up"].by_unit(model[2].up).shape == (6, 4)
