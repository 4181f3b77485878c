"""Networks of random layers: a mask is exact and right where plain PyTorch tells what is right, and
neither the network nor the process is another one afterwards."""

import collections
import copy
import dataclasses
import random

import numpy as np
import pytest
import torch
from fuzzing import REFUSED, attempt, cases
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from autos.masks.allocation import erk, uniform
from autos.methods import METHODS
from autos.predictors.autos import AutoS
from autos.predictors.paper import PaperPredictor
from autos.pruning import prune

CLASSES = 3
PREDICTORS = {"autos": AutoS.load(), "autos_paper": PaperPredictor.load()}
EXACT = ("magnitude", "snip", "taylor_fo", "skeletonization", "synflow", "uniform", "erk")
"""Methods of which plain PyTorch tells what they keep."""

OTHERS = ("random", "grasp", "obd", "npb", "prospr", "snip_it", "phew", "autos", "autos_paper")


# --- layers by the shape of a sample, each with the shape that it makes of it ---


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class First(nn.Module):
    """The first output of a recurrent layer or of attention."""

    def __init__(self, inner, repeat=1):
        super().__init__()
        self.inner, self.repeat = inner, repeat

    def forward(self, x):
        return self.inner(*[x] * self.repeat)[0]


class Paired(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x, x.flip(-1))


ACTIVATIONS = [
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh,
    nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.LogSigmoid,
    nn.PReLU, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.Identity,
]  # fmt: skip


def same(make):
    """A layer that keeps the shape of a sample."""
    return lambda *shape: (make(*shape), shape)


ANY = [same(lambda *_, kind=kind: kind()) for kind in ACTIVATIONS]
VECTOR = [
    lambda d: (nn.Linear(d, 6), (6,)),
    lambda d: (nn.Linear(d, 9, bias=False), (9,)),
    lambda d: (nn.Sequential(nn.Linear(d, 4), nn.Linear(4, 8)), (8,)),
    lambda d: (Paired(nn.Bilinear(d, d, 5)), (5,)),
    lambda d: (nn.Sequential(nn.Linear(d, 8), nn.GLU()), (4,)),
    lambda d: (nn.Unflatten(1, (1, d)), (1, d)),
    lambda d: (nn.Sequential(nn.Linear(d, 16), nn.Unflatten(1, (1, 4, 4))), (1, 4, 4)),
    same(lambda d: Residual(nn.Linear(d, d))),
    same(nn.LayerNorm),
    same(nn.RMSNorm),
    same(nn.BatchNorm1d),
    same(lambda d: nn.Softmax(1)),
]
SEQUENCE = [  # [length, width]
    lambda t, d: (nn.Linear(d, 6), (t, 6)),
    lambda t, d: (First(nn.LSTM(d, 5, batch_first=True)), (t, 5)),
    lambda t, d: (First(nn.GRU(d, 4, num_layers=2, batch_first=True)), (t, 4)),
    lambda t, d: (First(nn.RNN(d, 3, bidirectional=True, batch_first=True)), (t, 6)),
    lambda t, d: (nn.Conv1d(t, 4, 1), (4, d)),
    lambda t, d: (nn.ConvTranspose1d(t, 3, 2), (3, d + 1)),
    lambda t, d: (nn.Flatten(), (t * d,)),
    lambda t, d: (nn.Unflatten(1, (1, t)), (1, t, d)),
    same(lambda t, d: First(nn.MultiheadAttention(d, 1, batch_first=True), 3)),
    same(lambda t, d: nn.TransformerEncoderLayer(d, 1, 6, dropout=0.0, batch_first=True)),
    same(lambda t, d: nn.LayerNorm(d)),
    same(lambda t, d: nn.InstanceNorm1d(t, affine=True)),
    same(lambda t, d: nn.BatchNorm1d(t)),
]
IMAGE = [  # [channels, height, width]
    lambda c, h, w: (nn.Conv2d(c, 4, 3, padding=1), (4, h, w)),
    lambda c, h, w: (nn.Conv2d(c, 2 * c, 1, groups=c, bias=False), (2 * c, h, w)),
    lambda c, h, w: (nn.Conv2d(c, 3, 2, padding="same", padding_mode="circular"), (3, h, w)),
    lambda c, h, w: (nn.Conv2d(c, 4, 3, stride=2, padding=1), (4, -(-h // 2), -(-w // 2))),
    lambda c, h, w: (nn.ConvTranspose2d(c, 3, 2), (3, h + 1, w + 1)),
    lambda c, h, w: (nn.Sequential(nn.Conv2d(c, 4, 1), nn.PixelShuffle(2)), (1, 2 * h, 2 * w)),
    lambda c, h, w: (nn.AdaptiveAvgPool2d(2), (c, 2, 2)),
    lambda c, h, w: (nn.AdaptiveMaxPool2d(3), (c, 3, 3)),
    lambda c, h, w: (nn.ZeroPad2d(1), (c, h + 2, w + 2)),
    lambda c, h, w: (nn.Flatten(2), (c, h * w)),
    lambda c, h, w: (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), (c,)),
    lambda c, h, w: (nn.Flatten(), (c * h * w,)),
    same(
        lambda c, h, w: nn.Sequential(nn.Unflatten(1, (1, c)), nn.Conv3d(1, 1, 1), nn.Flatten(1, 2))
    ),
    same(lambda c, h, w: Residual(nn.Conv2d(c, c, 3, padding=1))),
    same(lambda c, h, w: nn.BatchNorm2d(c)),
    same(lambda c, h, w: nn.GroupNorm(1, c)),
    same(lambda c, h, w: nn.InstanceNorm2d(c)),
    same(lambda c, h, w: nn.LocalResponseNorm(2)),
    same(lambda c, h, w: nn.AvgPool2d(3, 1, 1)),
    same(lambda c, h, w: nn.MaxPool2d(3, 1, 1)),
]
KINDS = {1: VECTOR, 2: SEQUENCE, 3: IMAGE}
START = {"vector": (7,), "sequence": (4, 5), "image": (2, 4, 4), "tokens": (4, 5)}
LARGEST = 300
"""Number of values in a sample up to which layers that make more of them follow."""


# --- what a network returns ---

Pair = collections.namedtuple("Pair", "logits extra")


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    extra: int = 1


OUTPUTS = {
    "tensor": lambda x: x,
    "tuple": lambda x: (x, x.detach().sum()),
    "list": lambda x: [x, None],
    "mapping": lambda x: {"logits": x, "features": x * 2},
    "named": lambda x: Pair(x, 1),
    "dataclass": Output,
    "integers first": lambda x: (x.argmax(dim=1), x),
}


class Network(nn.Module):
    def __init__(self, body, output):
        super().__init__()
        self.body, self.output = body, output

    def forward(self, x):
        return OUTPUTS[self.output](self.body(x))


@dataclasses.dataclass
class Case:
    model: nn.Module
    batches: list

    def __repr__(self):
        return f"{self.model} in {'train' if self.model.training else 'eval'} mode"


@st.composite
def networks(draw):
    """A network that PyTorch can run, with batches for it."""
    torch.manual_seed(draw(st.integers(0, 999)))
    kind = draw(st.sampled_from(list(START)))
    shape = START[kind]
    layers = [nn.Embedding(11, shape[-1])] if kind == "tokens" else []
    for _ in range(draw(st.integers(1, 6))):
        fitting = KINDS[len(shape)] if np.prod(shape) <= LARGEST else [same(lambda *_: nn.Tanh())]
        layer, shape = draw(st.sampled_from(fitting) | st.sampled_from(ANY))(*shape)
        layers.append(layer)
    layers += [nn.Flatten(), nn.Linear(int(np.prod(shape)), CLASSES)]
    model = Network(nn.Sequential(*layers), draw(st.sampled_from(list(OUTPUTS))))
    if draw(st.booleans()):
        tie(model)
    if draw(st.integers(0, 3)) == 0:
        for layer in draw(st.sets(st.sampled_from(layers), max_size=3)):
            layer.requires_grad_(False)
    model.to(draw(st.sampled_from([torch.float32, torch.float32, torch.float64, torch.bfloat16])))
    model.train(draw(st.booleans()))
    if draw(st.integers(0, 4)) == 0:
        model = nn.DataParallel(model, device_ids=None)
    batches = [(inputs(kind, n), torch.randint(CLASSES, (n,))) for n in (4, 3)]
    return Case(model, batches)


def tie(model):
    """Make linear layers of one shape share their weight."""
    known = {}
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            layer.weight = known.setdefault(layer.weight.shape, layer.weight)


def inputs(kind, n):
    if kind == "tokens":
        return torch.randint(11, (n, START[kind][0]))
    return torch.randn(n, *START[kind])


# --- what plain PyTorch says ---


def logits(output):
    if isinstance(output, torch.Tensor):
        return output
    if isinstance(output, Output):
        return output.logits
    parts = output.values() if isinstance(output, dict) else output
    return next(p for p in parts if isinstance(p, torch.Tensor) and p.is_floating_point())


def plain(model, double=False):
    """An own copy of the network without wrapper, in the precision that it is scored in."""
    inner = copy.deepcopy(model.module if isinstance(model, nn.DataParallel) else model)
    every = all(p.dtype == torch.float64 for p in inner.parameters())
    return inner.double() if double or every else inner.float()


def cast(x, model):
    return x.to(next(model.parameters()).dtype) if x.is_floating_point() else x


def gradients(model, batches):
    """The gradient of the mean loss over all samples, per batch, by parameter."""
    found = []
    for x, y in batches:
        model.zero_grad()
        F.cross_entropy(logits(model(cast(x, model))), y).backward()
        found.append(
            {n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in named(model)}
        )
    return found


def named(model):
    return model.named_parameters(remove_duplicate=False)


def flows(model, batches):
    model = plain(model, double=True).eval()
    for p in model.parameters():
        p.data.abs_()
    x = batches[0][0][:1]
    out = model(torch.ones_like(x).double() if x.is_floating_point() else x)
    logits(out).sum().backward()
    return {n: p.detach() * (0 if p.grad is None else p.grad) for n, p in named(model)}


def scores(method, case):
    """The scores that a method gives by its formula, by parameter."""
    model = plain(case.model)
    weights = {n: p.detach().clone() for n, p in named(model)}
    if method == "magnitude":
        return {n: w.abs() for n, w in weights.items()}
    if method == "synflow":
        return flows(case.model, case.batches)
    sizes = torch.tensor([len(y) for _, y in case.batches], dtype=torch.float64)
    parts = gradients(model, case.batches)
    shares = (sizes / sizes.sum()).tolist()

    def mean(term):
        return {
            n: sum(s * term(w, part[n]) for s, part in zip(shares, parts, strict=True))
            for n, w in weights.items()
        }

    if method == "taylor_fo":
        return mean(lambda w, g: (w * g) ** 2)
    signed = mean(lambda w, g: -w * g)
    return signed if method == "skeletonization" else {n: s.abs() for n, s in signed.items()}


def usable(found):
    """Whether scores order weights: some are not 0, and all are finite."""
    joined = torch.cat([s.flatten() for s in found.values()])
    return bool(joined.isfinite().all()) and bool(joined.any())


# --- the properties ---


def state(model):
    """Everything about a network that pruning must leave as it is."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return (
        {n: (t.dtype, t.requires_grad, t.grad, t.detach().clone()) for n, t in tensors},
        [(n, m.training, dict(vars(m)).keys()) for n, m in model.named_modules()],
    )


def unchanged(before, after):
    assert before[1] == after[1] and before[0].keys() == after[0].keys()
    for name, (dtype, wanted, grad, values) in before[0].items():
        assert after[0][name][:3] == (dtype, wanted, grad)
        assert torch.equal(after[0][name][3], values)


def process():
    """Everything about the process that pruning must leave as it is."""
    return (
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
    )


def pruned(case, method, density, **options):
    """The mask of a method, or REFUSED; with network and process left as they were."""
    before, around = state(case.model), process()
    mask = attempt(prune, case.model, method, case.batches, density=density, seed=1, **options)
    unchanged(before, state(case.model))
    assert process() == around
    if mask is not REFUSED:
        assert mask.kept == round(density * mask.total)
        parameters = dict(named(plain(case.model)))
        assert mask.shapes == {name: tuple(parameters[name].shape) for name in mask.keep}
        assert set(mask.keep) >= always(case.model)
    return mask


def always(model):
    """The weights that every mask covers, by their first names; frozen ones are not among them."""
    inner = plain(model)
    first = {}
    for name, p in named(inner):
        first.setdefault(id(p), name)
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    weights = [m.weight for m in inner.modules() if isinstance(m, kinds)]
    return {first[id(weight)] for weight in weights if weight.requires_grad}


def check_highest(mask, found):
    """No pruned weight has a higher score than a kept one, up to rounding."""
    found = {name: found[name].double() for name in mask.keep}
    kept = torch.cat([found[name][keep] for name, keep in mask.keep.items()])
    lost = torch.cat([found[name][~keep] for name, keep in mask.keep.items()])
    if len(lost):
        size = max(kept.abs().max(), lost.abs().max())
        assert lost.max() <= kept.min() + 1e-5 * size + 1e-3 * kept.min().abs()


@pytest.mark.parametrize("method", EXACT)
@cases(quick=6, share=0.03)
@given(case=networks(), density=st.sampled_from([0.1, 0.3, 0.5, 0.9]))
def test_what_a_method_keeps_is_what_plain_pytorch_says(method, case, density):
    assume(always(case.model))
    options = {"settings": {"rounds": 1}} if method == "synflow" else {}
    mask = pruned(case, METHODS[method], density, **options)
    if method in ("uniform", "erk"):
        assert mask is not REFUSED
        if method == "uniform" or set(mask.keep) == always(case.model):
            share = {"uniform": uniform, "erk": erk}[method]
            want = share({n: torch.Size(s) for n, s in mask.shapes.items()}, mask.kept)
            assert {name: int(keep.sum()) for name, keep in mask.keep.items()} == want
        return
    found = scores(method, case)
    if usable({name: found[name] for name in always(case.model)}):
        assert mask is not REFUSED
        check_highest(mask, found)


@pytest.mark.parametrize("method", OTHERS)
@cases(quick=2, share=0.02)
@given(case=networks(), density=st.sampled_from([0.1, 0.5, 1.0]))
def test_every_method_keeps_the_exact_number_or_refuses_in_a_line(method, case, density):
    pruned(case, METHODS.get(method) or PREDICTORS[method], density)
