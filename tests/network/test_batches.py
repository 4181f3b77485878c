"""Batches of every form: how they are read, what a model gets of them, and what is refused."""

import random
from collections import OrderedDict, UserDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, TensorDataset

from autos.compute import Hardware
from autos.errors import UserError
from autos.methods import METHODS
from autos.network.batches import Prepared, cross_entropy, logits, ones, run, size
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable
from autos.pruning import prune
from autos.training.loop import train
from autos.training.recipe import TrainConfig


def prepared(batches, dtype=torch.float32):
    return Prepared(batches, device=torch.device("cpu"), dtype=dtype)


def read(batches, **settings):
    return list(prepared(batches, **settings))


INPUTS, LABELS = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])


# --- reading ---


@pytest.mark.parametrize(
    "batches",
    [
        [(INPUTS, LABELS)],
        ((INPUTS, LABELS),),
        [[INPUTS, LABELS]],
        DataLoader(TensorDataset(INPUTS, LABELS), batch_size=4),
        iter([(INPUTS, LABELS)]),
        ((INPUTS, LABELS) for _ in range(1)),
    ],
    ids=["list", "tuple", "lists", "loader", "iterator", "generator"],
)
def test_a_pair_is_read_from_any_iterable_as_often_as_asked(batches):
    batches = prepared(batches)
    for _ in range(3):
        ((inputs, labels),) = batches
        assert torch.equal(inputs, INPUTS) and torch.equal(labels, LABELS)


def test_an_iterator_is_not_read_before_it_is_needed():
    read_so_far = []
    batches = prepared(read_so_far.append(i) or (INPUTS, LABELS) for i in range(3))
    assert read_so_far == []
    assert len(list(batches)) == len(list(batches)) == 3
    assert read_so_far == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_floats_get_the_models_precision_and_integers_stay(dtype):
    batch = {
        "pixels": INPUTS.half(),
        "ids": LABELS,
        "nested": [{"mask": LABELS > 0, "more": INPUTS.double()}],
        "flag": True,
        "labels": LABELS,
    }
    (moved,) = read([batch], dtype=dtype)
    assert moved["pixels"].dtype == moved["nested"][0]["more"].dtype == dtype
    assert moved["ids"].dtype == torch.long and moved["nested"][0]["mask"].dtype == torch.bool
    assert moved["flag"] is True


REFUSED = {
    "tensor": (INPUTS, r"a batch is \[3\]; expected \(inputs, labels\) or a dictionary"),
    "pair": ((INPUTS, LABELS), r"a batch is \[4, 3\]; expected \(inputs, labels\)"),
    "inputs alone": ([INPUTS], r"a batch is \[4, 3\]"),
    "one in a tuple": ([(INPUTS,)], "a batch is a tuple of 1"),
    "three": ([(INPUTS, LABELS, LABELS)], "a batch is a tuple of 3"),
    "text": ("images/", "batches must be a list or a loader, not a str"),
    "none": (None, "batches must be a list or a loader, not nothing"),
    "dictionary": ({"x": INPUTS}, "batches must be a list or a loader, not a dict"),
    "data set": (object(), "batches must be a list or a loader, not a object"),
    "empty": ([], "there are no batches to score on"),
    "exhausted": (iter([]), "there are no batches to score on"),
    "no tensors": ([("a", "b")], "a batch holds nothing; expected tensors"),
    "arrays of text": (
        [(np.array(["a"]), np.array(["b"]))],
        "a batch holds nothing; expected tensors",
    ),
    "no samples": ([(INPUTS[:0], LABELS[:0])], r"a batch holds \[0, 3\]; expected .* n > 0"),
    "numbers": ([(torch.tensor(1.0), torch.tensor(1))], r"a batch holds \[\]; expected"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_batches_of_another_form_are_refused(form):
    batches, message = REFUSED[form]
    with pytest.raises(UserError, match=message) as caught:
        read(batches)
    assert "\n" not in str(caught.value)


def test_a_wrong_batch_behind_right_ones_is_refused_too():
    with pytest.raises(UserError, match="a batch is a tuple of 1"):
        read([(INPUTS, LABELS), (INPUTS,)])


# --- running ---


class Recorder(nn.Module):
    def forward(self, *args, **kwargs):
        return args, kwargs


class WithLabels(nn.Module):
    def forward(self, x, labels=None):
        return x, labels


def test_what_a_model_gets_of_a_batch():
    model = Recorder()
    assert run(model, (INPUTS, LABELS)) == ((INPUTS,), {})
    assert run(model, ((INPUTS, LABELS), LABELS)) == ((INPUTS, LABELS), {})
    assert run(model, ({"x": INPUTS}, LABELS)) == ((), {"x": INPUTS})
    batch = {"x": INPUTS, "y": 1, "labels": LABELS}
    assert run(model, batch) == ((), batch)
    assert run(model, UserDict(x=INPUTS)) == ((), {"x": INPUTS})


def test_a_model_that_names_the_labels_gets_them():
    assert run(WithLabels(), {"x": INPUTS, "labels": LABELS}) == (INPUTS, LABELS)
    assert run(WithLabels(), {"x": INPUTS}) == (INPUTS, None)
    assert run(WithLabels(), (INPUTS, LABELS)) == (INPUTS, None)


def test_a_model_that_fails_is_told_in_one_line_with_the_cause():
    with pytest.raises(
        UserError, match=r"fails on a batch: TypeError: .*unexpected keyword"
    ) as caught:
        run(WithLabels(), {"pixels": INPUTS})
    assert isinstance(caught.value.__cause__, TypeError) and "\n" not in str(caught.value)


def test_size_counts_samples_and_ones_keeps_one_of_them():
    batch = {"ids": LABELS, "pixels": INPUTS, "scale": torch.tensor(3.0), "labels": LABELS}
    assert size(batch) == 4 and size((INPUTS[:2], LABELS[:2])) == 2
    single = ones(batch)
    assert torch.equal(single["ids"], LABELS[:1])
    assert torch.equal(single["pixels"], torch.ones(1, 3))
    assert single["scale"] == 1


# --- outputs and losses ---


class Named(NamedTuple):
    logits: torch.Tensor
    auxiliary: torch.Tensor


def test_logits_are_found_in_outputs_of_all_kinds():
    other = torch.zeros(1)
    for output in (
        INPUTS,
        (INPUTS, other),
        [None, INPUTS],
        Named(INPUTS, other),
        {"hidden": other, "logits": INPUTS},
        {"out": INPUTS, "aux": other},
        SimpleNamespace(logits=INPUTS),
    ):
        assert logits(output) is INPUTS
    for output in (None, {}, "text", SimpleNamespace()):
        with pytest.raises(UserError, match="without tensors; give a loss"):
            logits(output)


def test_cross_entropy_of_classes_tokens_and_pixels_is_that_of_torch():
    plain = F.cross_entropy(INPUTS, LABELS)
    assert cross_entropy(INPUTS, (None, LABELS)) == plain
    assert cross_entropy({"logits": INPUTS}, {"labels": LABELS}) == plain
    tokens, token_labels = torch.randn(2, 5, 7), torch.randint(7, (2, 5))
    assert cross_entropy(tokens, (None, token_labels)) == F.cross_entropy(
        tokens.flatten(0, 1), token_labels.flatten()
    )
    pixels, pixel_labels = torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5))
    assert cross_entropy(pixels, (None, pixel_labels)) == F.cross_entropy(pixels, pixel_labels)
    shares = INPUTS.softmax(dim=1)
    assert cross_entropy(INPUTS, (None, shares)) == F.cross_entropy(INPUTS, shares)


def test_labels_of_minus_100_do_not_count():
    some = LABELS.clone()
    some[2:] = -100
    assert cross_entropy(INPUTS, (None, some)) == F.cross_entropy(INPUTS[:2], LABELS[:2])


def test_the_loss_that_a_model_returns_is_taken():
    assert cross_entropy({"loss": torch.tensor(7.0), "logits": INPUTS}, {"labels": LABELS}) == 7
    without = {"loss": None, "logits": INPUTS}
    assert cross_entropy(without, {"labels": LABELS}) == F.cross_entropy(INPUTS, LABELS)


def test_a_language_model_is_scored_on_the_next_token():
    import transformers

    config = transformers.GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, attn_pdrop=0
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    tokens = torch.randint(11, (3, 5))
    batch = {"input_ids": tokens, "labels": tokens}
    output = model(input_ids=tokens).logits
    expected = F.cross_entropy(output[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    torch.testing.assert_close(cross_entropy(run(model, batch), batch), expected)


MISFITS = {
    "too large": (torch.tensor([0, 1, 2, 3]), "label 3 is not one of 3 classes"),
    "negative": (torch.tensor([0, 1, 2, -1]), "label -1 is not one of 3 classes"),
    "too few": (torch.tensor([0, 1]), r"labels \[2\] do not fit the model's output \[4, 3\]"),
    "too deep": (torch.zeros(4, 2, dtype=torch.long), r"labels \[4, 2\] do not fit"),
    "floats": (torch.zeros(4), r"labels \[4\] do not fit"),
    "numbers": ([0, 1, 2, 1], "labels are a list of 4; expected a tensor"),
    "nothing": (None, "labels are nothing; expected a tensor"),
}


@pytest.mark.parametrize("form", MISFITS)
@pytest.mark.parametrize("batch", ["pair", "dictionary"])
def test_labels_that_do_not_fit_are_refused(form, batch):
    labels, message = MISFITS[form]
    with pytest.raises(UserError, match=message) as caught:
        cross_entropy(INPUTS, (None, labels) if batch == "pair" else {"labels": labels})
    assert "\n" not in str(caught.value)


def test_an_output_without_classes_and_a_batch_without_labels_are_refused():
    with pytest.raises(UserError, match=r"labels \[4\] do not fit the model's output \[4\]"):
        cross_entropy(INPUTS[:, 0], (None, LABELS))
    with pytest.raises(UserError, match="a batch has no 'labels', only x, mask; give a loss"):
        cross_entropy(INPUTS, {"x": INPUTS, "mask": LABELS})


# --- batches of other types ---


class Named3(NamedTuple):
    x: torch.Tensor
    scale: torch.Tensor
    labels: torch.Tensor


class Two(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


@dataclass
class Images:
    labels: torch.Tensor
    images: torch.Tensor


@dataclass(frozen=True)
class Frozen:
    x: torch.Tensor
    scale: torch.Tensor
    labels: torch.Tensor


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.lin = nn.Linear(3, 3)

    def forward(self, x, scale):
        return self.lin(x * scale)


class OfDictionary(Scaled):
    def forward(self, batch):
        return super().forward(batch["x"], batch["scale"])


class OfList(Scaled):
    def forward(self, parts):
        assert type(parts) is list
        return super().forward(*parts)


class OfObject(Scaled):
    def forward(self, graph):
        return super().forward(graph.x, graph.inner["scale"])


class Graph:
    def __init__(self, x, scale, y):
        self.x, self.inner, self.y, self.name = x, {"scale": scale}, y, "a graph"

    def to(self, device):
        self.x, self.inner = self.x.to(device), {"scale": self.inner["scale"].to(device)}
        return self


class Packed(Scaled):
    def forward(self, x):
        assert isinstance(x, PackedSequence)
        padded, _ = pad_packed_sequence(x, batch_first=True)
        return self.lin(padded.sum(dim=1))


SCALE = torch.full((4, 1), 2.0)
ARRAYS = (INPUTS.double().numpy()[::-1].copy()[::-1], LABELS.numpy())
FORMS = {
    "named tuple": (Scaled, Named3(INPUTS, SCALE, LABELS), True),
    "named pair": (Scaled, Two((INPUTS, SCALE), LABELS), True),
    "named labels first": (lambda: Scaled().lin, Images(LABELS, INPUTS), False),
    "dataclass": (Scaled, Frozen(INPUTS, SCALE, LABELS), True),
    "dataclass of arrays": (lambda: Scaled().lin, Images(ARRAYS[1], ARRAYS[0]), False),
    "arrays": (lambda: Scaled().lin, ARRAYS, False),
    "other byte order": (lambda: Scaled().lin, (ARRAYS[0].astype(">f8"), ARRAYS[1]), False),
    "mixed precisions": (Scaled, ((INPUTS.double(), SCALE.half()), LABELS), True),
    "dictionary whole": (OfDictionary, {"x": INPUTS, "scale": SCALE, "labels": LABELS}, True),
    "dictionary in a pair": (OfDictionary, ({"x": INPUTS, "scale": SCALE}, LABELS), True),
    "list whole": (OfList, ([INPUTS, SCALE], LABELS), True),
    "list in a tuple": (OfList, (([INPUTS, SCALE],), LABELS), True),
    "object": (OfObject, Graph(INPUTS, SCALE, LABELS), True),
    "object in a pair": (OfObject, (Graph(INPUTS, SCALE, None), LABELS), True),
    "packed": (Packed, (pack_sequence(list(INPUTS[:, None])), LABELS), False),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_on_batches_of_other_types_is_that_of_plain_pytorch(form, dtype):
    kind, batch, scaled = FORMS[form]
    model = kind().to(dtype)
    layer = getattr(model, "lin", model)
    (weight,) = prunable(model).values()
    scores = F.linear(INPUTS.to(dtype) * (2 if scaled else 1), weight, layer.bias)
    expected = torch.autograd.grad(F.cross_entropy(scores, LABELS), weight)[0]
    (gradient,) = mean_gradient(model, prepared([batch], dtype)).values()
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("form", FORMS)
def test_training_on_batches_of_other_types_is_a_step_in_plain_pytorch(form):
    kind, batch, scaled = FORMS[form]
    model = kind()
    (name, weight), layer = next(iter(prunable(model).items())), getattr(model, "lin", model)
    scores = F.linear(INPUTS * (2 if scaled else 1), weight, layer.bias)
    step = torch.autograd.grad(F.cross_entropy(scores, LABELS), weight)[0]
    expected = weight.detach() - 0.1 * step
    train_once(model, [batch])
    torch.testing.assert_close(model.get_parameter(name).detach(), expected)


def train_once(model, batches, loss=cross_entropy, **options):
    recipe = TrainConfig(epochs=1, batch_size=4, optimizer="sgd", lr=0.1, schedule="cosine")
    options = {"steps_per_epoch": 1, "seed": 0, "hardware": Hardware(accelerator="cpu")} | options
    return train(model, batches, recipe, loss=loss, **options)


def test_a_batch_keeps_its_types_and_is_left_untouched():
    batch = OrderedDict(
        pair=Two(INPUTS, LABELS),
        more=[Frozen(INPUTS, SCALE, LABELS), (INPUTS,), UserDict(a=INPUTS)],
        graph=Graph(INPUTS, SCALE, LABELS),
        packed=pack_sequence([INPUTS, INPUTS[:2]]),
        text="a",
        names=np.array(["a"]),
        labels=LABELS,
    )
    (moved,) = read([batch], dtype=torch.float64)
    assert type(moved) is OrderedDict and list(moved) == list(batch)
    assert type(moved["pair"]) is Two and type(moved["more"]) is list
    assert [type(part) for part in moved["more"]] == [Frozen, tuple, UserDict]
    graph, packed = moved["graph"], moved["packed"]
    assert isinstance(graph, Graph) and graph.name == "a graph"
    assert moved["text"] == "a" and moved["names"] is batch["names"]
    doubled = [
        moved["pair"].x,
        moved["more"][0].scale,
        moved["more"][2]["a"],
        graph.x,
        graph.inner["scale"],
        packed.data,
    ]
    assert {part.dtype for part in doubled} == {torch.float64}
    padded, lengths = pad_packed_sequence(packed)
    assert lengths.tolist() == [4, 2] and torch.equal(padded[:, 0], INPUTS.double())
    before = [batch["pair"].x, batch["graph"].x, batch["graph"].inner["scale"]]
    assert {part.dtype for part in before} == {torch.float32}


def test_an_encoding_of_transformers_keeps_its_type():
    from transformers import BatchEncoding

    batch = BatchEncoding({"input_ids": LABELS[None], "pixels": INPUTS, "labels": LABELS})
    (moved,) = read([batch], dtype=torch.float64)
    assert type(moved) is BatchEncoding and moved.pixels.dtype == torch.float64
    assert batch["pixels"].dtype == torch.float32


def test_samples_are_counted_by_the_labels_where_inputs_differ_in_length():
    edges = torch.zeros(2, 9)
    assert size(((edges, INPUTS), LABELS)) == 4
    assert size({"edges": edges, "x": INPUTS, "labels": LABELS}) == 4
    assert size((Graph(INPUTS, edges, None), LABELS[:3])) == 3
    assert size((pack_sequence([INPUTS, INPUTS[:2]]), LABELS[:2])) == 2
    assert size((torch.zeros(3, 8, 8), torch.tensor(1))) == 1
    assert size((INPUTS, torch.zeros(20))) == 4


# --- outputs of other types ---


@dataclass
class Predicted:
    guess: torch.Tensor
    scores: torch.Tensor


class Guess(NamedTuple):
    guess: torch.Tensor
    scores: torch.Tensor


@dataclass
class WithLogits:
    hidden: torch.Tensor
    logits: torch.Tensor


def test_logits_are_the_first_floating_point_tensor_if_they_have_no_name():
    for output in (
        Predicted(LABELS, INPUTS),
        Guess(LABELS, INPUTS),
        (LABELS, [None, {"a": INPUTS}]),
        {"guess": LABELS, "scores": INPUTS},
        WithLogits(torch.zeros(1), INPUTS),
    ):
        assert logits(output) is INPUTS
    with pytest.raises(UserError, match="without tensors; give a loss"):
        logits((LABELS, None))


# --- labels that the model takes ---


class Shifted(nn.Module):
    """A causal language model that computes its own loss behind any keywords."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(7, 5), nn.Linear(5, 7)

    def forward(self, **kwargs):
        scores = self.head(self.embed(kwargs["input_ids"]))
        if kwargs.get("labels") is None:
            return {"logits": scores}
        shifted = scores[:, :-1].flatten(0, 1), kwargs["labels"][:, 1:].flatten()
        return {"loss": F.cross_entropy(*shifted), "logits": scores}


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


@pytest.mark.parametrize("around", [0, 1, 2])
def test_a_model_that_takes_any_keyword_gets_the_labels_and_its_own_loss_counts(around):
    model = Shifted()
    ids = torch.randint(7, (3, 6))
    scores = model.head(model.embed(ids))[:, :-1].flatten(0, 1)
    expected = torch.autograd.grad(
        F.cross_entropy(scores, ids[:, 1:].flatten()), model.head.weight
    )[0]
    outer = model
    for _ in range(around):
        outer = Around(outer)
    (gradient,) = mean_gradient(outer, [{"input_ids": ids, "labels": ids}]).values()
    torch.testing.assert_close(gradient, expected)


# --- what training refuses ---


@pytest.mark.parametrize("form", ["three", "no tensors", "no samples", "one in a tuple"])
def test_training_refuses_the_batches_that_scoring_refuses(form):
    batches, message = REFUSED[form]
    with pytest.raises(UserError, match=message):
        train_once(nn.Linear(3, 3), batches)


class Failing(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.zeros(3 + index // 6), index % 3


def test_a_loader_that_fails_is_told_in_one_line_in_scoring_and_training():
    loader = DataLoader(Failing(), batch_size=4)
    message = "the batches cannot be read: RuntimeError: .*stack expects"
    with pytest.raises(UserError, match=message) as caught:
        read(loader)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=message):
        train_once(nn.Linear(3, 3), loader, steps_per_epoch=2)


def test_training_ends_in_one_line_where_a_loader_has_fewer_batches_than_it_says():
    class Short(list):
        def __len__(self):
            return 3

    for batches in (Short(), Short([(INPUTS, LABELS)] * 2)):
        with pytest.raises(UserError, match=f"length of 3, but epoch 1 gave {len(list(batches))}"):
            train_once(nn.Linear(3, 3), batches, steps_per_epoch=3)


def test_a_method_that_trains_refuses_an_empty_loader():
    recipe = TrainConfig(epochs=1, batch_size=4, optimizer="sgd", lr=0.1, schedule="cosine")
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    for batches in ([], DataLoader(TensorDataset(INPUTS[:0], LABELS[:0]))):
        with pytest.raises(UserError, match="there are no batches to train on"):
            prune(model, METHODS["rigl"], batches, density=0.5, recipe=recipe)


# --- loaders with generators of their own ---

DATA = TensorDataset(torch.randn(24, 3), torch.arange(24) % 3)


class Drawing(Dataset):
    """Draws its noise from a generator of NumPy or Python."""

    def __init__(self, kind):
        self.draw = np.random.default_rng(1) if kind == "numpy" else random.Random(1)

    def __len__(self):
        return 24

    def __getitem__(self, index):
        return torch.tensor([self.draw.random() for _ in range(3)]), index % 3


class Loader:
    """A loader around another one."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __iter__(self):
        return iter(self.inner)


def torch_generator():
    return torch.Generator().manual_seed(5)


LOADERS = {
    "loader": lambda: DataLoader(DATA, batch_size=4, shuffle=True, generator=torch_generator()),
    "sampler": lambda: DataLoader(
        DATA, batch_size=4, sampler=RandomSampler(DATA, generator=torch_generator())
    ),
    "batch sampler": lambda: DataLoader(
        DATA, batch_sampler=BatchSampler(RandomSampler(DATA, generator=torch_generator()), 4, False)
    ),
    "wrapped": lambda: Loader(
        DataLoader(DATA, batch_size=4, shuffle=True, generator=torch_generator())
    ),
    "numpy": lambda: DataLoader(Drawing("numpy"), batch_size=4),
    "python": lambda: DataLoader(Drawing("python"), batch_size=4),
}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("method", ["taylor_fo", "prospr", "rigl"])
def test_a_loader_with_a_generator_gives_the_mask_of_the_seed_and_is_put_back(kind, method):
    model = nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 3))
    recipe = TrainConfig(epochs=2, batch_size=4, optimizer="sgd", lr=0.1, schedule="cosine")

    def mask(loader, seed):
        found = prune(model, METHODS[method], loader, density=0.3, seed=seed, recipe=recipe)
        return torch.cat([keep.flatten() for keep in found.keep.values()])

    loader, untouched, moved = (LOADERS[kind]() for _ in range(3))
    list(moved)
    first = mask(loader, 1)
    assert torch.equal(first, mask(loader, 1)) and torch.equal(first, mask(moved, 1))
    assert not torch.equal(first, mask(loader, 2))
    for (x, y), (a, b) in zip(loader, untouched, strict=True):
        assert torch.equal(x, a) and torch.equal(y, b)
