"""Losses: cross-entropy is that of torch or an error, and any other is taken as it is written."""

import copy
import functools
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.errors import UserError
from autos.methods import METHODS
from autos.network.batches import as_loss, cross_entropy
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable
from autos.pruning import prune
from autos.training.recipe import TrainConfig

LABELS = torch.tensor([0, 1, 2, 1])
RECIPE = TrainConfig(epochs=1, batch_size=4, optimizer="sgd", lr=0.1, schedule="cosine")


def said(error):
    assert "\n" not in str(error.value)
    return str(error.value)


# --- cross-entropy ---


@pytest.mark.parametrize(
    ("output", "labels"),
    [
        ((4, 3), (4,)),
        ((4, 5, 7), (4, 7)),
        ((8, 8, 8, 8), (8, 8, 8)),
        ((6, 5, 5), (6, 5)),
        ((2, 3, 4, 5, 6), (2, 4, 5, 6)),
        ((3,), ()),
    ],
)
def test_integer_labels_are_read_as_torch_reads_them(output, labels):
    scores = torch.randn(output)
    classes = output[1] if len(output) > 1 else output[0]
    target = torch.randint(classes, labels)
    assert cross_entropy(scores, (None, target)) == F.cross_entropy(scores, target)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (2, 3, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_class_probabilities_are_read_as_torch_reads_them(shape, dtype):
    scores, shares = torch.randn(shape), torch.randn(shape).softmax(dim=1).to(dtype).float()
    assert cross_entropy(scores, (None, shares)) == F.cross_entropy(scores, shares)


def test_tokens_are_read_where_torch_reads_nothing():
    scores, tokens = torch.randn(2, 3, 5, 7), torch.randint(7, (2, 3, 5))
    with pytest.raises(RuntimeError):
        F.cross_entropy(scores, tokens)
    expected = F.cross_entropy(scores.flatten(0, 2), tokens.flatten())
    assert cross_entropy(scores, (None, tokens)) == expected


MSE, BCE = "functional.mse_loss", "functional.binary_cross_entropy_with_logits"
NOT_CLASSES = {
    "numbers": ((4, 3), 5 * torch.ones(4, 3), MSE),
    "negative": ((4, 3), torch.tensor([[2.0, -1.0, 0.0]] * 4), MSE),
    "several": ((4, 3), torch.tensor([[1.0, 1.0, 0.0]] * 4), BCE),
    "none": ((4, 3), torch.zeros(4, 3), BCE),
    "several, in integers": ((4, 3), torch.ones(4, 3, dtype=torch.long), BCE),
    "probabilities per token": ((4, 5, 3), torch.full((4, 5, 3), 1 / 3), MSE),
    "a number each": ((4, 3), torch.randn(4), MSE),
    "one output": ((4, 1), torch.tensor([0, 0, 0, 0]), BCE),
    "one output, numbers": ((4, 1), torch.randn(4, 1), MSE),
    "one output without axis": ((4,), torch.tensor([0, 1, 0, 1]), BCE),
    "one output without axis, numbers": ((4,), torch.rand(4), MSE),
    "one output per pixel": ((4, 1, 5), torch.zeros(4, 5, dtype=torch.long), BCE),
    "one output per token": ((4, 5, 1), torch.zeros(4, 5, dtype=torch.long), BCE),
    "short integers": ((4, 3), LABELS.int(), r"labels.long\(\)"),
    "booleans": ((4, 3), LABELS > 0, r"labels.long\(\)"),
}


@pytest.mark.parametrize("kind", NOT_CLASSES)
def test_labels_that_are_no_classes_are_refused_with_the_loss_to_give(kind):
    shape, labels, remedy = NOT_CLASSES[kind]
    with pytest.raises(UserError, match=remedy) as caught:
        cross_entropy(torch.randn(shape), (None, labels))
    assert said(caught).startswith(f"labels {list(labels.shape)}")


class Output(NamedTuple):
    prediction: torch.Tensor
    loss: torch.Tensor


def test_the_loss_that_a_model_returns_is_taken_from_any_form_of_output():
    assert cross_entropy(Output(torch.zeros(4, 3), torch.tensor(7.0)), (None, LABELS)) == 7


# --- losses as torch has them ---


def batches(labels):
    return [(torch.randn(n, 5), labels(n)) for n in (4, 3)]


def numbers(n):
    return torch.randn(n, 3)


def classes(n):
    return torch.arange(n) % 3


def several(n):
    return (torch.rand(n, 3) > 0.5).float()


def plain_cross_entropy(prediction, labels):
    return F.cross_entropy(prediction, labels)


class Squares:
    def __call__(self, preds, target):
        return (preds - target).square().mean()


class OwnModule(nn.Module):
    def forward(self, y_hat, truths):
        return F.l1_loss(y_hat, truths)


class OfBatch(nn.Module):
    def forward(self, output, batch):
        return F.l1_loss(output, batch[1])


class Metric(nn.Module):
    """As torchmetrics has them: the arguments are those of another method."""

    def forward(self, *args, **kwargs):
        return F.mse_loss(*args, **kwargs)


WEIGHT = torch.tensor([1.0, 5.0, 0.2])
LOSSES = {
    "function": (F.mse_loss, numbers, F.mse_loss),
    "module": (nn.MSELoss(), numbers, F.mse_loss),
    "weighted": (
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1),
        classes,
        lambda x, y: F.cross_entropy(x, y, WEIGHT.to(x), label_smoothing=0.1),
    ),
    "partial": (
        functools.partial(F.cross_entropy, label_smoothing=0.3),
        classes,
        lambda x, y: F.cross_entropy(x, y, label_smoothing=0.3),
    ),
    "several": (
        F.binary_cross_entropy_with_logits,
        several,
        F.binary_cross_entropy_with_logits,
    ),
    "labels": (plain_cross_entropy, classes, F.cross_entropy),
    "object": (Squares(), numbers, F.mse_loss),
    "own module": (OwnModule(), numbers, F.l1_loss),
    "metric": (Metric(), numbers, F.mse_loss),
    "lambda": (lambda out, y: F.l1_loss(out, y), numbers, F.l1_loss),
    "batch": (lambda out, batch: F.l1_loss(out, batch[1]), numbers, F.l1_loss),
    "data": (lambda out, data: F.l1_loss(out, data[1]), numbers, F.l1_loss),
    "module of the batch": (OfBatch(), numbers, F.l1_loss),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_any_loss_are_those_of_plain_pytorch(kind, dtype):
    loss, labels, plain = LOSSES[kind]
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    data = [(x.to(dtype), y.to(dtype) if y.is_floating_point() else y) for x, y in batches(labels)]
    oracle = copy.deepcopy(model)
    for x, y in data:
        (plain(oracle(x), y) * len(x) / 7).backward()
    for name, gradient in mean_gradient(model, data, loss).items():
        torch.testing.assert_close(gradient, oracle.get_parameter(name).grad)


def test_a_loss_of_torch_sees_the_logits_of_outputs_of_all_kinds():
    class Two(nn.Linear):
        def forward(self, x):
            return {"hidden": 2 * x, "logits": super().forward(x)}

    model, data = Two(5, 3), batches(numbers)
    plain = nn.Linear(5, 3)
    plain.load_state_dict(model.state_dict())
    one, two = (mean_gradient(net, data, F.mse_loss) for net in (model, plain))
    assert torch.equal(one["weight"], two["weight"])


@pytest.mark.parametrize("method", ["snip", "grasp", "prospr", "rigl"])
def test_every_method_takes_a_loss_of_torch_and_leaves_it_alone(method):
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    loss = nn.CrossEntropyLoss(WEIGHT.double())
    data = batches(classes)

    def ours(output, batch):
        return F.cross_entropy(output, batch[1], WEIGHT.to(output))

    options = {"density": 0.4, "recipe": RECIPE}
    mask = prune(model, METHODS[method], data, loss=loss, **options)
    expected = prune(model, METHODS[method], data, loss=ours, **options)
    assert all(torch.equal(mask.keep[name], expected.keep[name]) for name in prunable(model))
    assert loss.weight.dtype == torch.float64


def three(output, target, weight):
    return 0


def one(output):
    return 0


def keyword(output, *, target):
    return 0


def broken(output, target):
    raise ZeroDivisionError("of\nits own")


REFUSED = {
    "class": (nn.CrossEntropyLoss, r"the loss CrossEntropyLoss is a class: .*CrossEntropyLoss\(\)"),
    "three": (three, r"takes \(output, target, weight\): give a function of \(output, target\)"),
    "module of three": (nn.GaussianNLLLoss(), r"takes \(input, target, var\)"),
    "one": (one, r"the loss one takes \(output\)"),
    "keyword": (keyword, r"the loss keyword takes"),
    "text": ("mse", "the loss str is no function"),
    "nothing": (None, "the loss NoneType is no function"),
    "sum": (nn.MSELoss(reduction="sum"), "reduction='sum': give one with the mean"),
    "vector": (nn.MSELoss(reduction="none"), "reduction='none': give one with the mean"),
    "failing": (broken, "the loss broken .*fails: ZeroDivisionError: of its own"),
    "misfit": (F.mse_loss, r"output \[4, 3\] and labels \[4\] fails"),
    "broadcast": (
        lambda output, target: F.mse_loss(output[:, :1], target),
        "Using a target size",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_loss_of_another_form_is_refused_in_one_line(kind):
    loss, message = REFUSED[kind]
    data = [(torch.randn(4, 5), torch.randn(4))]
    with pytest.raises(UserError, match=message) as caught:
        prune(nn.Linear(5, 3), METHODS["snip"], data, density=0.5, loss=loss)
    said(caught)


def test_a_loss_that_is_read_already_stays_what_it_is():
    loss = as_loss(F.mse_loss)
    assert as_loss(loss) is loss and as_loss(cross_entropy) is cross_entropy
