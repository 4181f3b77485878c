"""`prune` with criteria made for the purpose, and what it refuses; tests/criteria and
tests/test_any_network.py have the criteria of the registry."""

import pytest
import torch
from torch import nn

from autos.errors import UserError
from autos.masks.mask import Mask
from autos.methods.base import Criterion
from autos.methods.criteria import CRITERIA
from autos.methods.schedules import exponential
from autos.network.prunable import prunable
from autos.pruning import prune


def test_every_round_starts_from_the_given_weights_with_the_pruned_ones_zero(mlp):
    before = {name: weight.detach().clone() for name, weight in prunable(mlp).items()}
    seen = []

    def score(model, context):
        weights = {name: weight.detach().clone() for name, weight in prunable(model).items()}
        seen.append(weights)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(7)  # a score may do what it likes with its copy
        return {name: weight.abs() for name, weight in weights.items()}

    mask = prune(
        mlp, Criterion("x", score, densities=lambda d, _: exponential(d, 4)), [], density=0.1
    )
    assert len(seen) == 4
    for weights in seen:
        for name, weight in weights.items():
            assert torch.equal(weight, before[name] * (weight != 0))
    left = [sum(int((w != 0).sum()) for w in weights.values()) for weights in seen]
    assert left == [round(0.1 ** (t / 4) * mask.total) for t in range(4)]


def test_pruned_weights_do_not_come_back_however_high_they_score(mlp):
    def score(model, context):
        return {name: -weight.detach().abs() for name, weight in prunable(model).items()}

    mask = prune(
        mlp, Criterion("x", score, densities=lambda d, _: exponential(d, 2)), [], density=0.25
    )
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in prunable(mlp).values()])
    kept = torch.cat([keep.flatten() for keep in mask.keep.values()])
    # In round 2 the pruned weights score 0, more than all others.
    assert set(kept.nonzero().flatten().tolist()) == set(magnitudes.argsort()[:201].tolist())


def test_a_score_is_told_the_final_density_and_reads_the_batches_in_every_round(mlp, batches):
    densities, read = [], []

    def score(model, context):
        densities.append(context.density)
        read.append(sum(len(labels) for _, labels in context.batches))
        return dict(prunable(model))

    prune(
        mlp, Criterion("x", score, densities=lambda d, _: exponential(d, 3)), batches, density=0.2
    )
    assert densities == [0.2] * 3 and read == [15] * 3


def test_randomness_goes_on_from_round_to_round_and_repeats_with_the_seed(mlp):
    def draws(seed):
        drawn = []

        def score(model, context):
            drawn.append(float(torch.rand((), generator=context.generator)))
            return dict(prunable(model))

        prune(
            mlp,
            Criterion("x", score, densities=lambda d, _: exponential(d, 3)),
            [],
            density=0.2,
            seed=seed,
        )
        return drawn

    assert len(set(draws(0))) == 3
    assert draws(0) == draws(0) != draws(1)


def test_randomness_that_a_score_takes_from_torch_repeats_with_the_seed(mlp):
    drawn = []

    def score(model, context):
        drawn.append(float(torch.rand(())))
        return dict(prunable(model))

    for state, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(state)
        prune(mlp, Criterion("x", score), [], density=0.2, seed=seed)
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("batch_norm", ["train", "eval", None])
def test_a_score_gets_the_precision_and_the_mode_that_its_criterion_asks_for(
    conv_net, double, batch_norm
):
    def score(model, context):
        assert {p.dtype for p in model.parameters()} == {torch.float64 if double else torch.float32}
        assert model.bn1.training == {"train": True, "eval": False, None: False}[batch_norm]
        return dict(prunable(model))

    prune(
        conv_net.eval(),
        Criterion("x", score, double=double, batch_norm=batch_norm),
        [],
        density=0.5,
    )
    assert not conv_net.training and conv_net.fc.weight.dtype == torch.float32


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5, float("nan")])
def test_a_density_out_of_range_is_refused(mlp, density):
    criterion = Criterion("x", lambda model, context: dict(prunable(model)))
    with pytest.raises(UserError, match=f"above 0 and at most 1, not {density:g}"):
        prune(mlp, criterion, [], density=density)


# --- what cannot be pruned ---

WIDTH = 8


def samples(width=WIDTH):
    return [(torch.randn(4, width), torch.arange(4) % 3)]


def refused(match, model, criterion=CRITERIA["snip"], batches=None, **settings):
    batches = samples() if batches is None else batches
    with pytest.raises(UserError, match=match) as caught:
        prune(model, criterion, batches, density=0.5, **settings)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_model_without_prunable_weight_is_refused():
    refused("Sequential has no prunable weight", nn.Sequential(nn.Embedding(3, 3)))


def test_tensors_without_values_are_refused_by_name():
    refused("weight is on the meta device", nn.Linear(WIDTH, 3, device="meta"))
    refused(r"0\.weight is not initialised yet", nn.Sequential(nn.LazyLinear(3)))
    model = nn.Sequential(nn.Linear(WIDTH, 3), nn.LazyBatchNorm1d())
    refused(r"1\.weight is not initialised yet", model)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused_by_name(value, dtype):
    model = nn.Sequential(nn.Linear(WIDTH, 3), nn.Linear(3, 3)).to(dtype)
    with torch.no_grad():
        model[1].weight[1, 2] = value
    refused(r"1\.weight is NaN or infinite", model)


def test_quantised_weights_are_refused_by_name():
    model = nn.Linear(WIDTH, 3)
    model.weight = nn.Parameter(model.weight.to(torch.int8), requires_grad=False)
    refused(r"weight is torch\.int8", model)


def test_computed_weights_are_refused_by_name():
    model = nn.Sequential(nn.Linear(WIDTH, 3))
    Mask.dense(model).parametrize(model)
    refused(r"0\.weight is computed from other tensors; .*remove_parametrizations", model)
    model = nn.Sequential(nn.Linear(WIDTH, 3))
    Mask.dense(model).to_torch_prune(model)
    refused(r"0\.weight is computed .*prune\.remove", model)


def test_a_model_that_cannot_be_copied_is_refused():
    model = nn.Linear(WIDTH, 3)
    model.open = (number for number in range(3))
    refused("the model cannot be copied: cannot pickle 'generator' object", model)


@pytest.mark.parametrize("criterion", ["snip", "grasp", "synflow", "npb"])
def test_a_model_that_fails_on_a_batch_says_so_in_one_line(criterion):
    message = "the model fails on a batch: RuntimeError: .*mat1 and mat2 shapes"
    error = refused(message, nn.Linear(WIDTH, 3), CRITERIA[criterion], samples(WIDTH + 1))
    assert isinstance(error.__cause__, RuntimeError)


def test_a_model_without_the_derivative_that_a_criterion_needs_is_refused():
    class Model(nn.Linear):
        def forward(self, x):
            return torch.ops.aten.hardsigmoid(super().forward(x))

    prune(Model(WIDTH, 3), CRITERIA["snip"], samples(), density=0.5)
    refused("no gradient: derivative for .* is not implemented", Model(WIDTH, 3), CRITERIA["grasp"])


LOSSES = {
    "nan": (lambda output, batch: output.mean() * float("nan"), "the loss of batch 0 is nan"),
    "infinite": (lambda output, batch: output.mean() / 0, "the loss of batch 0 is -?inf"),
    "constant": (lambda output, batch: torch.tensor(1.0), "does not depend on the weights"),
    "detached": (lambda output, batch: output.detach().mean(), "does not depend on the weights"),
    "times_zero": (lambda output, batch: 0 * output.sum(), "every gradient is 0"),
    "vector": (lambda output, batch: output.sum(dim=1), r"must be a scalar tensor.*it is \[4\]"),
    "number": (lambda output, batch: 1.0, "must be a scalar tensor.*it is float"),
    "root": (lambda output, batch: (0 * output).sum().sqrt(), "gradient of .*weight is NaN"),
}


@pytest.mark.parametrize("criterion", ["snip", "grasp"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_without_a_usable_gradient_is_refused(criterion, loss):
    function, message = LOSSES[loss]
    refused(message, nn.Linear(WIDTH, 3), CRITERIA[criterion], loss=function)
