"""`prune` with criteria made for the purpose; tests/criteria has those of the registry."""

import pytest
import torch

from pipeline.criterion import Criterion
from pipeline.errors import UserError
from pipeline.prunable import prunable
from pipeline.pruning import prune


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

    mask = prune(mlp, Criterion(score, rounds=4), [], density=0.1)
    assert len(seen) == 4
    for weights in seen:
        for name, weight in weights.items():
            assert torch.equal(weight, before[name] * (weight != 0))
    left = [sum(int((w != 0).sum()) for w in weights.values()) for weights in seen]
    assert left == [round(0.1 ** (t / 4) * mask.total) for t in range(4)]


def test_pruned_weights_do_not_come_back_however_high_they_score(mlp):
    def score(model, context):
        return {name: -weight.detach().abs() for name, weight in prunable(model).items()}

    mask = prune(mlp, Criterion(score, rounds=2), [], density=0.25)
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

    prune(mlp, Criterion(score, rounds=3), batches, density=0.2)
    assert densities == [0.2] * 3 and read == [15] * 3


def test_randomness_goes_on_from_round_to_round_and_repeats_with_the_seed(mlp):
    def draws(seed):
        drawn = []

        def score(model, context):
            drawn.append(float(torch.rand((), generator=context.generator)))
            return dict(prunable(model))

        prune(mlp, Criterion(score, rounds=3), [], density=0.2, seed=seed)
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
        prune(mlp, Criterion(score), [], density=0.2, seed=seed)
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

    prune(conv_net.eval(), Criterion(score, double=double, batch_norm=batch_norm), [], density=0.5)
    assert not conv_net.training and conv_net.fc.weight.dtype == torch.float32


@pytest.mark.parametrize("density", [0.0, -0.1, 1.5, float("nan")])
def test_a_density_out_of_range_is_refused(mlp, density):
    criterion = Criterion(lambda model, context: dict(prunable(model)))
    with pytest.raises(UserError, match=f"above 0 and at most 1, not {density:g}"):
        prune(mlp, criterion, [], density=density)
