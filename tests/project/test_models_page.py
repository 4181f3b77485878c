"""docs/models.md: every row is tried, and says what comes of it."""

import collections
import copy
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos import METHODS, Mask, UserError, prune
from autos.network import prunable
from autos.pruning import CoverageWarning

PAGE = (Path(__file__).parents[2] / "docs/models.md").read_text()
N, WIDTH, CLASSES = 4, 6, 3


def rows(heading):
    """The two cells of each row of the table under a heading."""
    _, _, below = PAGE.partition(f"## {heading}\n")
    lines = [line for line in below.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    return dict(re.fullmatch(r"\| (.+) \| (.+) \|", line).groups() for line in lines[2:])


class Net(nn.Module):
    """One layer on inputs of any shape, and a classifier behind it."""

    def __init__(self, layer, run=None, output=lambda scores: scores):
        super().__init__()
        self.layer, self.head = layer, nn.LazyLinear(CLASSES)
        self.run, self.output = run or (lambda layer, x: layer(x)), output

    def forward(self, x):
        return self.output(self.head(self.run(self.layer, x).flatten(1)))


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(5, WIDTH))

    def forward(self, x):
        return x @ self.matrix.T


class Shared(nn.Module):
    def __init__(self, by_memory=False):
        super().__init__()
        self.one, self.two = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        if by_memory:
            self.two.weight.data = self.one.weight.data
        else:
            self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(x).tanh())


class Keeping(nn.Linear):
    def forward(self, x):
        self.last = super().forward(x)
        return self.last


def first(layer, x):
    return layer(x)[0]


def attend(layer, x):
    return layer(x, x[..., : layer.kdim], x[..., : layer.vdim])[0]


def linear(**options):
    return Net(nn.Linear(WIDTH, 5), **options), (WIDTH,)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(WIDTH, 5), nn.Linear(5, CLASSES).double()

    def forward(self, x):
        return self.two(self.one(x).to(self.two.weight.dtype))


def convolutions(kinds, **options):
    return [(Net(kind(2, 4, 2, **options)), (2, *[3] * d)) for d, kind in enumerate(kinds, 1)]


Scores = collections.namedtuple("Scores", "logits more")
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WORKS = {
    "`nn.Linear`": lambda: [linear()],
    "`nn.Bilinear`": lambda: [
        (Net(nn.Bilinear(WIDTH, WIDTH, 4), lambda layer, x: layer(x, x.flip(1))), (WIDTH,))
    ],
    "`nn.Conv1d`, `nn.Conv2d`, `nn.Conv3d`, grouped or not": lambda: [
        *convolutions(CONVOLUTIONS),
        *convolutions(CONVOLUTIONS, groups=2),
    ],
    "`nn.ConvTranspose1d`, `nn.ConvTranspose2d`, `nn.ConvTranspose3d`": lambda: convolutions(
        TRANSPOSED
    ),
    "`nn.RNN`, `nn.GRU`, `nn.LSTM`": lambda: [
        (Net(kind(WIDTH, 5, batch_first=True), first), (3, WIDTH))
        for kind in (nn.RNN, nn.GRU, nn.LSTM)
    ],
    "`nn.MultiheadAttention`": lambda: [
        (Net(nn.MultiheadAttention(WIDTH, 2, batch_first=True), attend), (3, WIDTH))
    ],
    "`nn.MultiheadAttention` with keys and values of other sizes": lambda: [
        (
            Net(nn.MultiheadAttention(WIDTH, 2, kdim=4, vdim=5, batch_first=True), attend),
            (3, WIDTH),
        )
    ],
    "`nn.TransformerEncoderLayer`": lambda: [
        (Net(nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.0, batch_first=True)), (3, WIDTH))
    ],
    'a layer type of your own, `LAYERS[Own] = {"matrix": "oi"}`': lambda: [(Net(Own()), (WIDTH,))],
    "a weight that several layers share, by identity or by memory": lambda: [
        (Net(Shared(by_memory)), (WIDTH,)) for by_memory in (False, True)
    ],
    "weights in half, bfloat16 or double precision, or mixed": lambda: [
        *((linear()[0].to(kind), (WIDTH,)) for kind in (torch.half, torch.bfloat16, torch.double)),
        (Mixed(), (WIDTH,)),
    ],
    "`torch.compile`, `nn.DataParallel`": lambda: [
        (wrap(linear()[0]), (WIDTH,)) for wrap in (torch.compile, nn.DataParallel)
    ],
    'outputs as tensors, tuples, dictionaries with "logits", named tuples': lambda: [
        linear(output=output)
        for output in (
            lambda scores: scores,
            lambda scores: (scores, None),
            lambda scores: {"extra": 1, "logits": scores},
            lambda scores: Scores(scores, 2),
        )
    ],
    "a model that keeps tensors of a forward pass": lambda: [(Net(Keeping(WIDTH, 5)), (WIDTH,))],
}


def made(model, shape, seed=0):
    """The model after a first batch, which gives lazy layers their shape, with a batch for it."""
    torch.manual_seed(seed)
    x, y = torch.randn(N, *shape), torch.arange(N) % CLASSES
    inner = prunable.unwrap(model)
    dtype = next(p.dtype for p in inner.parameters() if not nn.parameter.is_lazy(p))
    inner(x.to(dtype))
    return [(x, y)]


def saliency(model, batches):
    """|w g| by plain PyTorch, by parameter."""
    inner = prunable.unwrap(model)
    for module in inner.modules():
        vars(module).pop("last", None)  # PyTorch alone cannot copy it.
    inner = copy.deepcopy(inner)
    ((x, y),) = batches
    dtypes = {p.dtype for p in inner.parameters()}
    inner.double() if dtypes != {torch.float32} else inner
    output = inner(x.to(next(inner.parameters()).dtype))
    scores = output["logits"] if isinstance(output, dict) else output
    scores = scores if isinstance(scores, torch.Tensor) else scores[0]
    F.cross_entropy(scores, y).backward()
    return {n: (p * p.grad).abs().detach().double() for n, p in inner.named_parameters()}


def test_every_row_of_what_works_is_tried():
    assert list(rows("What works")) == list(WORKS)


@pytest.mark.parametrize("row", WORKS)
def test_what_works_keeps_the_exact_number_of_the_best_weights(row, monkeypatch):
    monkeypatch.setitem(prunable.LAYERS, Own, {"matrix": "oi"})
    for model, shape in WORKS[row]():
        batches = made(model, shape)
        mask = prune(model, METHODS["snip"], batches, density=0.3)
        assert mask.kept == round(0.3 * mask.total)
        found = saliency(model, batches) if "share" not in row else None
        if found:
            kept = torch.cat([found[name][keep] for name, keep in mask.keep.items()])
            lost = torch.cat([found[name][~keep] for name, keep in mask.keep.items()])
            assert lost.max() <= kept.min() * (1 + 1e-3) + 1e-9
        told = re.findall(r"`([^`]+)`", rows("What works")[row]) or ["weight"]
        inside = {name.partition(".")[2] for name in mask.keep if name.startswith("layer.")}
        if "share" in row:
            assert inside == {"one.weight"}
        elif inside:
            assert inside == set(told)


def test_embeddings_stay_whole_with_a_warning_unless_they_are_named(monkeypatch):
    model = nn.Sequential(nn.Embedding(50, WIDTH), nn.Flatten(), nn.Linear(2 * WIDTH, CLASSES))
    batches = [(torch.randint(50, (N, 2)), torch.arange(N) % CLASSES)]
    with pytest.warns(CoverageWarning, match=r"0\.weight"):
        assert list(prune(model, METHODS["snip"], batches, density=0.5).keep) == ["2.weight"]
    monkeypatch.setitem(prunable.LAYERS, nn.Embedding, {"weight": "io"})
    with warnings.catch_warnings():
        warnings.simplefilter("error", CoverageWarning)
        mask = prune(model, METHODS["snip"], batches, density=0.5)
    assert list(mask.keep) == ["0.weight", "2.weight"]


def plain():
    return nn.Sequential(nn.Linear(WIDTH, 5), nn.ReLU(), nn.Linear(5, CLASSES))


def changed(change):
    model = plain()
    change(model)
    return model


def integers(model):
    model[0].weight = nn.Parameter(model[0].weight.to(torch.int8), requires_grad=False)


REFUSED = {
    "nothing but embeddings": lambda: (nn.Embedding(5, CLASSES), {}),
    "a parametrised weight": lambda: (changed(lambda m: Mask.dense(m).parametrize(m)), {}),
    "a weight under `torch.nn.utils.prune`": lambda: (
        changed(lambda m: Mask.dense(m).to_torch_prune(m)),
        {},
    ),
    "a weight under hook-style `weight_norm`": lambda: (
        changed(lambda m: nn.utils.weight_norm(m[0])),
        {},
    ),
    "a sparse weight": lambda: (
        changed(lambda m: setattr(m[0], "weight", nn.Parameter(m[0].weight.data.to_sparse()))),
        {},
    ),
    "an expanded weight": lambda: (
        changed(lambda m: setattr(m[0], "weight", nn.Parameter(torch.ones(5, 1).expand(5, WIDTH)))),
        {},
    ),
    "TorchScript": lambda: (torch.jit.trace(plain(), torch.ones(1, WIDTH)), {}),
    "frozen weights and no others": lambda: (plain().requires_grad_(False), {}),
    "a lazy layer before its first batch": lambda: (nn.LazyLinear(CLASSES), {}),
    "a layer on the meta device": lambda: (plain().to("meta"), {}),
    "integer weights": lambda: (changed(integers), {}),
    "a weight with NaN or infinity": lambda: (
        changed(lambda m: nn.init.constant_(m[2].weight, torch.inf)),
        {},
    ),
    "a model that fails on a batch": lambda: (nn.Linear(WIDTH + 1, CLASSES), {}),
    "a loss without the weights": lambda: (
        plain(),
        {"loss": lambda output, batch: output.detach().mean()},
    ),
    "a density that keeps no weight": lambda: (plain(), {"density": 1e-9}),
    "PHEW on units that are not connected by weights": lambda: (
        Net(nn.Linear(WIDTH, 4), lambda layer, x: layer(x).softmax(1) @ torch.ones(4, 5).to(x)),
        {"method": METHODS["phew"]},
    ),
}


def test_every_row_of_what_is_refused_is_tried():
    assert list(rows("What is refused")) == list(REFUSED)


@pytest.mark.parametrize("row", REFUSED)
def test_what_is_refused_says_so_in_the_line_of_the_page(row):
    model, options = REFUSED[row]()
    batches = [(torch.randn(N, WIDTH), torch.arange(N) % CLASSES)]
    if isinstance(model, Net):
        batches = made(model, (WIDTH,))
    method = options.pop("method", METHODS["snip"])
    with pytest.raises(UserError) as caught:
        prune(model, method, batches, **{"density": 0.5, **options})
    line = str(caught.value)
    assert rows("What is refused")[row].strip('"') in line and "\n" not in line
