"""Batches of every form: how they are read, what a model gets of them, and what is refused."""

from collections import UserDict
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from autos.errors import UserError
from autos.network.batches import Prepared, cross_entropy, logits, ones, run, size


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
