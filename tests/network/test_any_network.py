"""Pruning is right on networks of all kinds, and touches nothing but the mask that it returns."""

import copy
import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers.pytorch_utils import Conv1D

from autos.errors import UserError
from autos.masks.allocation import erk
from autos.masks.mask import Mask
from autos.methods.base import Criterion
from autos.methods.criteria import CRITERIA
from autos.network.gradients import mean_gradient
from autos.network.prunable import layouts, prunable
from autos.predictors.autos import AutoS
from autos.predictors.backbones import BACKBONES
from autos.predictors.paper import PaperPredictor
from autos.pruning import EmptyLayerWarning, FrozenWarning, prune
from tests.few_rounds import QUICK

CLASSES, TOKENS, WIDTH = 3, 5, 8
torch.manual_seed(0)
PREDICTOR = PaperPredictor.compiled(
    BACKBONES["mlp"](2), {"backbone": "mlp", "inputs": ["weight", "gradient"]}
)
AUTOS = AutoS({"coefficients": {"path": 1.0, "unit": -0.5, "step": 0.2, "growth": 0.2}})
AUTOS.rounds = 4
EVERY = {
    **QUICK,
    "autos_paper": PREDICTOR,
    "autos": AUTOS,
}
SOME = {
    name: EVERY[name]
    for name in ("random", "snip", "grasp", "prospr", "synflow", "npb", "autos_paper", "autos")
}
"""One criterion of each kind that looks at a network in a way of its own."""


# --- networks ---


class Attention(nn.Module):
    """Sequences [n, 5, 8] to classes, by one layer of torch's attention."""

    def __init__(self, **sizes):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True, **sizes)
        self.keys = nn.Linear(WIDTH, sizes.get("kdim", WIDTH))
        self.values = nn.Linear(WIDTH, sizes.get("vdim", WIDTH))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        x = self.norm(x)
        attended, _ = self.attention(x, value=self.values(x), key=self.keys(x), need_weights=False)
        return self.head((x + attended).mean(dim=1))


class Transformed(nn.Module):
    """Torch's encoder layers, which have a fast path without a call of their parts in eval mode."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.encoder(x)[:, 0])


class Autoencoder(nn.Module):
    """One matrix in two places, and a third weight."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(WIDTH, WIDTH)
        self.decode = nn.Linear(WIDTH, WIDTH)
        self.decode.weight = self.encode.weight
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        return self.head(self.decode(self.encode(x).tanh()))


class Language(nn.Module):
    """Tokens [n, 5] to the next token's logits; the output layer is the embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, WIDTH)
        self.hidden = Conv1D(WIDTH, WIDTH)
        self.output = nn.Linear(WIDTH, 11, bias=False)
        self.output.weight = self.embed.weight
        mask = torch.full((TOKENS, TOKENS), -torch.inf).triu(1)
        self.register_buffer("mask", mask)

    def forward(self, tokens):
        x = self.embed(tokens)
        x = x + (x @ x.mT + self.mask).softmax(dim=-1) @ self.hidden(x)
        return self.output(x)


class Auxiliary(nn.Module):
    """As GoogLeNet: several outputs in train mode, and a layer that nothing uses."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3)
        self.head = nn.Linear(4, CLASSES)
        self.auxiliary = nn.Linear(4, CLASSES)
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        x = self.stem(x).relu().mean(dim=(2, 3))
        return (self.head(x), self.auxiliary(x)) if self.training else self.head(x)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left = nn.Linear(WIDTH, 6)
        self.right = nn.Linear(4, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, left, right):
        return self.head((self.left(left) * self.right(right)).tanh())


class Recurrent(nn.Module):
    """Sequences [n, 5, 8] to classes, by recurrent layers and a cell."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, 6, num_layers=2, proj_size=3, batch_first=True)
        self.gru = nn.GRU(3, 4, batch_first=True, bidirectional=True)
        self.cell = nn.RNNCell(WIDTH, 5)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x):
        x, _ = self.gru(self.lstm(x)[0])
        return self.head(self.cell(x[:, 1], self.cell(x[:, 0])))


class Pairs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.both = nn.Linear(WIDTH, 4), nn.Bilinear(4, WIDTH, 6)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(self.both(self.left(x), x).tanh())


def sequential(*layers):
    return lambda: nn.Sequential(*copy.deepcopy(layers))


def convolutions(dimensions):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    return sequential(conv(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 2**dimensions, CLASSES))


def residual():
    from torchvision.models.resnet import BasicBlock

    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        BasicBlock(4, 4),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )


def bert():
    config = transformers.BertConfig(
        vocab_size=11,
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=CLASSES,
    )
    return transformers.BertForSequenceClassification(config)


def gpt2():
    config = transformers.GPT2Config(
        vocab_size=11, n_positions=8, n_embd=WIDTH, n_layer=1, n_head=2
    )
    return transformers.GPT2LMHeadModel(config)


def mixture():
    config = transformers.MixtralConfig(
        vocab_size=11,
        hidden_size=WIDTH,
        intermediate_size=6,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=3,
        tie_word_embeddings=True,
        experts_implementation="eager",
    )
    return transformers.MixtralForCausalLM(config)


def labels(n):
    return torch.arange(n) % CLASSES


def images(*shape):
    return lambda: [(torch.randn(n, *shape), labels(n)) for n in (4, 3)]


def sentences(per_token=False):
    def make():
        tokens = [torch.randint(11, (n, TOKENS)) for n in (4, 3)]
        return [
            {
                "input_ids": ids,
                "attention_mask": torch.ones_like(ids),
                "labels": ids if per_token else labels(len(ids)),
            }
            for ids in tokens
        ]

    return make


NETWORKS = {
    "linear": (
        sequential(nn.Linear(WIDTH, 6), nn.ReLU(), nn.Linear(6, CLASSES)),
        images(WIDTH),
    ),
    "conv1d": (convolutions(1), images(2, 4)),
    "conv2d": (convolutions(2), images(2, 4, 4)),
    "conv3d": (convolutions(3), images(2, 4, 4, 4)),
    "grouped": (
        sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, CLASSES)),
        images(4, 4, 4),
    ),
    "depthwise": (
        sequential(
            nn.Conv2d(4, 8, 3, groups=4),
            nn.Conv2d(8, 6, 1),
            nn.Hardswish(),
            nn.Flatten(),
            nn.Linear(24, CLASSES),
        ),
        images(4, 4, 4),
    ),
    "residual": (residual, images(1, 8, 8)),
    "groupnorm_dropout": (
        sequential(
            nn.Conv2d(1, 4, 3),
            nn.GroupNorm(2, 4),
            nn.GELU(),
            nn.Dropout2d(0.2),
            nn.Flatten(),
            nn.Linear(16, CLASSES),
        ),
        images(1, 4, 4),
    ),
    "tied": (Autoencoder, images(WIDTH)),
    "attention": (Attention, images(TOKENS, WIDTH)),
    "attention_unpacked": (lambda: Attention(kdim=6, vdim=7), images(TOKENS, WIDTH)),
    "transformer": (Transformed, images(TOKENS, WIDTH)),
    "language": (
        Language,
        lambda: [(x := torch.randint(11, (n, TOKENS)), x.roll(-1, 1)) for n in (4, 3)],
    ),
    "auxiliary": (Auxiliary, images(1, 5, 5)),
    "two_inputs": (
        TwoInputs,
        lambda: [((torch.randn(n, WIDTH), torch.randn(n, 4)), labels(n)) for n in (4, 3)],
    ),
    "unbatched_features": (
        sequential(nn.Unflatten(1, (2, 4)), nn.Linear(4, 6), nn.Flatten(), nn.Linear(12, CLASSES)),
        images(WIDTH),
    ),
    "bert": (bert, sentences()),
    "gpt2": (gpt2, sentences(per_token=True)),
    "transposed": (
        sequential(
            nn.Conv2d(2, 4, 3),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False),
            nn.BatchNorm2d(6),
            nn.ConvTranspose2d(6, 4, 2, stride=2),
            nn.Flatten(),
            nn.Linear(256, CLASSES),
        ),
        images(2, 4, 4),
    ),
    "recurrent": (Recurrent, images(TOKENS, WIDTH)),
    "bilinear": (Pairs, images(WIDTH)),
    "mixture": (mixture, sentences(per_token=True)),
}
DENSITY = 0.4
NOT_WALKED = {"attention", "attention_unpacked", "transformer", "language", "bert", "gpt2"} | {
    "recurrent",
    "bilinear",
    "mixture",
}
"""Networks in which units are not connected by weights and channel-wise functions alone."""


@pytest.fixture(params=NETWORKS)
def network(request):
    """A model and batches for it."""
    return built(request.param)


def built(name):
    torch.manual_seed(0)
    model, batches = NETWORKS[name]
    return SimpleNamespace(model=model(), batches=batches(), name=name)


@pytest.fixture(params=SOME)
def criterion(request):
    return SOME[request.param]


def equal(one: Mask, two: Mask) -> bool:
    return list(one.keep) == list(two.keep) and all(
        torch.equal(one.keep[name], two.keep[name]) for name in one.keep
    )


def shapes(model):
    return {name: weight.shape for name, weight in prunable(model).items()}


# --- right on all of them ---


@pytest.mark.parametrize("name", EVERY)
def test_keeps_the_exact_number_and_repeats_with_the_seed(network, name):
    criterion = EVERY[name]
    density = 0.9 if name == "uniform_plus" else DENSITY  # it keeps the first convolution whole
    if name == "phew" and network.name in NOT_WALKED:
        with pytest.raises(UserError, match=r"cannot walk|to (attention|LSTM|Bilin|MixtralE)"):
            prune(network.model, criterion, network.batches, density=density)
        return
    if (name, network.name) == ("px", "mixture"):  # Its gates depend on where tokens are sent.
        with pytest.raises(UserError, match=r"^px needs the same activations in every pass"):
            prune(network.model, criterion, network.batches, density=density)
        return
    mask = prune(network.model, criterion, network.batches, density=density, seed=3)
    assert {name: keep.shape for name, keep in mask.keep.items()} == shapes(network.model)
    assert mask.kept == round(density * mask.total)
    torch.manual_seed(99)
    again = prune(network.model, criterion, network.batches, density=density, seed=3)
    assert equal(mask, again)


def test_in_eval_mode_the_gradient_is_that_of_plain_pytorch(network):
    model = network.model.eval().double()
    oracle = copy.deepcopy(model)
    batches = [
        batch if isinstance(batch, dict) else (as_double(batch[0]), batch[1])
        for batch in network.batches
    ]
    for batch in batches:
        if isinstance(batch, dict):
            loss = oracle(**batch).loss
        else:
            inputs, labels = batch
            output = oracle(*inputs) if isinstance(inputs, tuple) else oracle(inputs)
            loss = F.cross_entropy(output.flatten(0, -2), labels.flatten())
        (loss * len(next(iter(batch.values())) if isinstance(batch, dict) else labels)).backward()
    expected = {
        name: torch.zeros_like(w) if w.grad is None else w.grad / 7
        for name, w in prunable(oracle).items()
    }
    gradient = mean_gradient(model, batches)
    assert list(gradient) == list(expected)
    for name in gradient:
        torch.testing.assert_close(gradient[name], expected[name], rtol=1e-9, atol=1e-14)


def as_double(inputs):
    if isinstance(inputs, tuple):
        return tuple(as_double(part) for part in inputs)
    return inputs.double() if inputs.is_floating_point() else inputs


def test_npb_keeps_its_budget_in_every_layer(network):
    mask = prune(network.model, CRITERIA["npb"], network.batches, density=DENSITY)
    axes = layouts(network.model)
    by_unit = {name: axes[name].by_unit(w).shape for name, w in prunable(network.model).items()}
    budgets = erk(by_unit, round(DENSITY * mask.total))
    assert {name: int(keep.sum()) for name, keep in mask.keep.items()} == budgets


@pytest.mark.parametrize("name", ["conv2d", "residual", "groupnorm_dropout", "transformer", "gpt2"])
def test_train_and_eval_mode_are_both_scored_to_the_exact_number(name, criterion):
    network = built(name)
    for train in (True, False):
        mask = prune(network.model.train(train), criterion, network.batches, density=0.2)
        assert mask.kept == round(0.2 * mask.total)
        assert network.model.training == train


def test_names_are_those_of_the_parameters(network):
    parameters = dict(network.model.named_parameters(remove_duplicate=False))
    for name, weight in prunable(network.model).items():
        assert weight is parameters[name]


def test_which_weights_of_attention_and_transformers_count():
    assert list(prunable(Attention())) == [
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "keys.weight",
        "values.weight",
        "head.weight",
    ]
    assert list(prunable(Attention(kdim=6, vdim=7)))[:4] == [
        "attention.q_proj_weight",
        "attention.k_proj_weight",
        "attention.v_proj_weight",
        "attention.out_proj.weight",
    ]
    assert list(prunable(gpt2())) == [
        "transformer.h.0.attn.c_attn.weight",
        "transformer.h.0.attn.c_proj.weight",
        "transformer.h.0.mlp.c_fc.weight",
        "transformer.h.0.mlp.c_proj.weight",
        "lm_head.weight",
    ]


def test_a_tied_weight_counts_once_and_gets_the_gradients_of_both_uses():
    network = built("tied")
    untied = copy.deepcopy(network.model)
    untied.decode.weight = nn.Parameter(untied.encode.weight.detach().clone())
    assert list(prunable(network.model)) == ["encode.weight", "head.weight"]
    one, two = (mean_gradient(model, network.batches) for model in (network.model, untied))
    assert two["decode.weight"].any()
    torch.testing.assert_close(one["encode.weight"], two["encode.weight"] + two["decode.weight"])


def test_frozen_weights_are_left_out_and_named(network, criterion):
    names = list(prunable(network.model))
    network.model.requires_grad_(False)
    prunable(network.model)[names[0]].requires_grad_(True)
    with pytest.warns(FrozenWarning, match="frozen") as caught:
        mask = prune(network.model, criterion, network.batches, density=DENSITY)
    assert list(mask.keep) == names[:1] and mask.kept == round(DENSITY * mask.total)
    told = next(each for each in caught if each.category is FrozenWarning)
    assert told.filename == __file__ and names[1] in str(told.message)
    wanted = [name for name, weight in prunable(network.model).items() if weight.requires_grad]
    assert wanted == names[:1]


def test_frozen_weights_are_pruned_like_the_others_when_they_are_included(network, criterion):
    free = prune(network.model, criterion, network.batches, density=DENSITY)
    network.model.requires_grad_(False)
    asked = prune(network.model, criterion, network.batches, density=DENSITY, include="*")
    assert equal(free, asked)
    assert not any(parameter.requires_grad for parameter in network.model.parameters())
    with pytest.raises(UserError, match="all prunable weights are frozen"):
        prune(network.model, criterion, network.batches, density=DENSITY)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["residual", "attention"])
def test_half_precision_gives_the_mask_of_its_values_in_single_precision(name, criterion, dtype):
    network = built(name)
    half = network.model.to(dtype)
    mask = prune(half, criterion, network.batches, density=DENSITY)
    single = copy.deepcopy(half).float()
    assert equal(mask, prune(single, criterion, network.batches, density=DENSITY))
    before = {name: weight.clone() for name, weight in prunable(half).items()}
    mask.apply_(half)
    for name, weight in prunable(half).items():
        assert weight.dtype == dtype
        assert torch.equal(weight, before[name].masked_fill(~mask.keep[name], 0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_model_of_mixed_precision_has_one_ranking(dtype):
    network = built("linear")
    with torch.no_grad():  # values that half precision holds
        for weight in prunable(network.model).values():
            weight.copy_(weight.half())
    plain = prune(network.model, CRITERIA["magnitude"], network.batches, density=DENSITY)
    network.model[2].to(dtype)
    assert equal(plain, prune(network.model, CRITERIA["magnitude"], [], density=DENSITY))


def test_channels_last_gives_the_mask_of_contiguous_weights(criterion):
    network = built("residual")
    plain = prune(network.model, criterion, network.batches, density=DENSITY)
    last = network.model.to(memory_format=torch.channels_last)
    assert not last[2].conv1.weight.is_contiguous()
    mask = prune(last, criterion, network.batches, density=DENSITY)
    assert agreement(plain, mask) > 0.98  # convolutions round differently
    values = {name: weight.detach().clone() for name, weight in prunable(last).items()}
    mask.apply_(last)
    assert last[2].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    for name, weight in prunable(last).items():
        assert torch.equal(weight, values[name] * mask.keep[name])


def agreement(one: Mask, two: Mask) -> float:
    """Intersection over union."""
    pairs = [(one.keep[name], two.keep[name]) for name in one.keep]
    return sum(int((a & b).sum()) for a, b in pairs) / sum(int((a | b).sum()) for a, b in pairs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_mask_is_that_of_the_cpu(network):
    def masks():
        return {
            name: prune(network.model.eval(), criterion, network.batches, density=DENSITY)
            for name, criterion in SOME.items()
            if name not in ("grasp", "prospr")  # score in train mode, with other dropout
        }

    plain = masks()
    network.model.cuda()
    states = torch.cuda.get_rng_state_all()
    for name, mask in masks().items():
        assert mask.kept == plain[name].kept
        assert agreement(plain[name], mask) > 0.98, name
    assert all(map(torch.equal, states, torch.cuda.get_rng_state_all()))
    mask.apply_(network.model)
    mask.parametrize(network.model)
    assert {p.device.type for p in network.model.parameters()} == {"cuda"}


# --- compiled and wrapped ---


def compile_whole(model):
    return torch.compile(model, backend="eager")


def compile_a_layer(model):
    model[2] = torch.compile(model[2], backend="eager")
    return model


def compile_in_place(model):
    model.compile(backend="eager")
    return model


def compile_forward(model):
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def parallel_layer(model):
    model[2] = nn.DataParallel(model[2])
    return model


@pytest.fixture
def process_group():
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


def distributed(model):
    return nn.parallel.DistributedDataParallel(model)


WRAPPERS = [
    compile_whole,
    compile_a_layer,
    compile_in_place,
    compile_forward,
    nn.DataParallel,
    parallel_layer,
    distributed,
    lambda model: compile_whole(distributed(model)),
]


@pytest.mark.parametrize("wrap", WRAPPERS, ids=lambda wrap: getattr(wrap, "__name__", "wrap"))
def test_a_wrapped_network_has_the_mask_and_the_names_of_the_plain_one(
    wrap, criterion, process_group
):
    network = built("residual")
    network.model.eval()
    plain = prune(network.model, criterion, network.batches, density=DENSITY)
    wrapped = wrap(network.model)
    wrapped(network.batches[0][0])  # so that it is compiled
    before = bits(wrapped)
    mask = prune(wrapped, criterion, network.batches, density=DENSITY)
    assert bits(wrapped) == before
    assert equal(mask, plain)
    mask.apply_(wrapped)
    applied = wrapped(network.batches[0][0])
    assert all(torch.equal(w != 0, mask.keep[name]) for name, w in prunable(wrapped).items())
    mask.parametrize(wrapped)
    assert torch.equal(wrapped(network.batches[0][0]), applied)


# --- no side effects ---


def bits(model):
    """Everything of a model that scoring could have touched."""

    def content(tensor):
        if tensor is None:
            return None
        return tensor.detach().clone().flatten().view(torch.uint8).numpy().tobytes()

    state = {}
    for name, module in model.named_modules():
        state[name] = (
            module.training,
            {key: dict(hooks) for key, hooks in vars(module).items() if key.endswith("hooks")},
        )
    for name, parameter in model.named_parameters():
        state[name] = (
            id(parameter),
            content(parameter),
            content(parameter.grad),
            parameter.requires_grad,
            parameter.dtype,
            parameter.stride(),
            copy.copy(parameter._backward_hooks),
        )
    for name, buffer in model.named_buffers():
        state[name] = id(buffer), content(buffer)
    return state


def random_bits():
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), (kind, keys.tolist(), *rest)


@pytest.fixture
def used():
    """A network in the middle of its use: gradients, hooks, frozen parts, mixed modes."""
    network = built("residual")
    model = network.model
    model[5].register_forward_hook(lambda module, args, output: output * 1.0)
    model[5].register_full_backward_hook(lambda module, inputs, outputs: None)
    model[0].weight.register_hook(lambda gradient: 2 * gradient)
    F.cross_entropy(model(network.batches[0][0]), network.batches[0][1]).backward()
    model[2].bn1.eval()
    model[2].conv2.requires_grad_(False)
    return network


def disturb():
    torch.rand(3), np.random.rand(3), random.random()


@pytest.mark.parametrize("name", ["recurrent", "conv2d"])
def test_recurrent_layers_are_scored_without_cudnn_which_cannot_in_eval_mode_or_twice(name):
    network, used = built(name), []

    def loss(output, batch):
        used.append(torch.backends.cudnn.enabled)
        return F.cross_entropy(output, batch[1])

    prune(network.model.eval(), CRITERIA["grasp"], network.batches, density=DENSITY, loss=loss)
    assert set(used) == {name == "conv2d"} and torch.backends.cudnn.enabled


def test_scoring_leaves_everything_as_it_was_to_the_bit(used, criterion):
    def loss(output, batch):
        disturb()
        return F.cross_entropy(output, batch[1])

    before, randomness = bits(used.model), random_bits()
    prune(used.model, criterion, used.batches, density=0.2, loss=loss)
    assert bits(used.model) == before
    assert random_bits() == randomness


def test_so_does_scoring_that_raises_in_the_middle(used, criterion):
    inner = criterion if isinstance(criterion, Criterion) else criterion.criterion

    def score(model, context):
        dict(inner.score(model, context))
        disturb()
        raise InterruptedError

    before, randomness = bits(used.model), random_bits()
    with pytest.raises(InterruptedError):
        prune(
            used.model,
            replace(inner, score=score),
            used.batches,
            density=0.2,
        )
    assert bits(used.model) == before
    assert random_bits() == randomness


@pytest.mark.parametrize(
    "around",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    ],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_a_mask_does_not_depend_on_the_context_of_the_call(around, criterion):
    network = built("residual")
    plain = prune(network.model, criterion, network.batches, density=DENSITY)
    with around():
        assert equal(plain, prune(network.model, criterion, network.batches, density=DENSITY))


def test_a_model_that_makes_buffers_as_it_runs_is_pruned_in_all_rounds():
    class Caching(nn.Linear):
        def forward(self, x):
            self.register_buffer("seen", x.detach().sum())
            return super().forward(x)

    model = nn.Sequential(Caching(WIDTH, 6), nn.Linear(6, CLASSES))
    mask = prune(model, CRITERIA["synflow"], images(WIDTH)(), density=0.3)
    assert mask.kept == round(0.3 * mask.total)
    assert not hasattr(model[0], "seen")


# --- unused layers, empty layers ---


@pytest.mark.parametrize("name", ["snip", "grasp", "synflow"])
def test_a_layer_that_is_not_used_is_pruned_first_and_named_in_a_warning(name):
    network = built("auxiliary")
    with pytest.warns(EmptyLayerWarning, match=r"keeps nothing in .*unused\.weight") as caught:
        mask = prune(network.model, CRITERIA[name], network.batches, density=0.3)
    assert "unused.weight" in mask.empty_layers()
    assert caught[0].filename == __file__


# --- batches of all forms ---


def test_a_shuffling_loader_gives_the_mask_of_the_seed():
    network = built("residual")
    data = [(torch.randn(1, 8, 8), label % CLASSES) for label in range(20)]
    loader = DataLoader(data, batch_size=4, shuffle=True)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = prune(network.model, CRITERIA["snip"], loader, density=DENSITY, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    two, other = (
        prune(network.model, CRITERIA["snip"], loader, density=DENSITY, seed=seed)
        for seed in (1, 2)
    )
    assert equal(one, two) and not equal(one, other)


def test_a_generator_is_read_once_and_its_randomness_is_that_of_the_seed():
    network = built("linear")

    def generate():
        for n in (4, 3):
            yield torch.randn(n, WIDTH), labels(n)

    masks = []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        masks.append(prune(network.model, CRITERIA["synflow"], generate(), density=0.3))
        masks.append(prune(network.model, CRITERIA["snip"], generate(), density=0.3))
        assert torch.equal(torch.get_rng_state(), before)
    assert equal(masks[0], masks[2]) and equal(masks[1], masks[3])
