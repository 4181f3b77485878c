"""Gram matrix of gradients during a training."""

import copy

import pytest
import torch
from torch import nn

from autos.analyses.gradient_gram import GradientRecorder, gram
from autos.compute import Hardware
from autos.errors import UserError
from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.pruning import prune
from autos.training.budget import Budget
from autos.training.recipe import TrainConfig

RECIPE = TrainConfig(epochs=4, batch_size=6, optimizer="sgd", lr=0.1, schedule="cosine")


def cross_entropy(output, batch):
    return nn.functional.cross_entropy(output, batch[1])


def record(model, batches, every=1, mask=None, loss=cross_entropy):
    recorder = GradientRecorder(every)
    budget = Budget(RECIPE, batches, loss, 0, Hardware(accelerator="cpu"))
    budget.train(model, mask=mask or Mask.dense(model), callbacks=[recorder])
    return recorder


def test_has_ones_on_the_diagonal_and_no_negative_eigenvalue(conv_net, batches):
    recorder = record(conv_net, batches)
    cosines = gram(recorder.gradients)
    assert recorder.steps == list(range(12))
    torch.testing.assert_close(cosines.diagonal(), torch.ones(12, dtype=torch.float64))
    assert torch.linalg.eigvalsh(cosines).min() > -1e-10
    torch.testing.assert_close(cosines, cosines.T)
    assert cosines.fill_diagonal_(0).abs().max() < 1


def test_a_constant_gradient_gives_ones():
    model = nn.Linear(4, 1)
    batches = [(torch.ones(2, 4), torch.zeros(2))] * 3
    recorder = record(model, batches, loss=lambda output, _: output.mean())
    cosines = gram(recorder.gradients)
    torch.testing.assert_close(cosines, torch.ones(12, 12, dtype=torch.float64))


def test_opposite_gradients_give_minus_one():
    signs = [(torch.full((1, 4), sign), torch.zeros(1)) for sign in (1.0, -1.0)]
    model = nn.Linear(4, 1, bias=False)
    recorder = record(model, signs, loss=lambda output, _: output.mean())
    cosines = gram(recorder.gradients)
    want = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64).repeat(4, 4)
    torch.testing.assert_close(cosines, want)


def test_every_third_step_is_stored_and_is_the_gradient_of_that_step(mlp, batches):
    all_of_them = record(copy.deepcopy(mlp), batches)
    some = record(mlp, batches, every=3)
    assert some.steps == [0, 3, 6, 9]
    for step, gradient in zip(some.steps, some.gradients, strict=True):
        torch.testing.assert_close(gradient, all_of_them.gradients[step], rtol=0, atol=0)


def test_pruned_weights_are_left_out(mlp, batches):
    mask = prune(mlp, CRITERIA["snip"], batches, density=0.1)
    recorder = record(mlp, batches, mask=mask)
    keep = mask.keep["fc1.weight"].flatten()
    first = recorder.gradients[0][: keep.numel()]  # fc1.weight is the first parameter
    assert not first[~keep].any() and first[keep].any()


def test_a_gradient_of_zero_is_refused(mlp, batches):
    with pytest.raises(UserError, match="the gradient at step 0 is 0"):
        record(mlp, batches, loss=lambda output, _: 0 * output.sum())
