"""Iterative SNIP and FORCE, against loops in plain PyTorch."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.errors import UserError
from autos.methods.criteria import CRITERIA
from autos.network.prunable import prunable
from autos.pruning import prune

ROUNDS = ["iterative_snip", "force"]


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def by_hand(model, batches, density, rounds, *, revive):
    """The kept weights of all layers in one row."""
    names, initial = zip(*prunable(model).items(), strict=True)
    keep = torch.ones(sum(w.numel() for w in initial), dtype=torch.bool)
    for t in range(1, rounds + 1):
        parts = keep.split([w.numel() for w in initial])
        masked = [
            (w.detach() * part.view_as(w)).requires_grad_()
            for w, part in zip(initial, parts, strict=True)
        ]
        logits = torch.cat(
            [
                torch.func.functional_call(model, dict(zip(names, masked, strict=True)), x)
                for x, _ in batches
            ]
        )
        loss = F.cross_entropy(logits, torch.cat([y for _, y in batches]))
        gradients = torch.autograd.grad(loss, masked)
        values = initial if revive else masked
        scores = (flat(values) * flat(gradients)).abs()
        if not revive:
            scores = scores.masked_fill(~keep, -1)
        keep = torch.zeros_like(keep)
        keep[scores.topk(round(density ** (t / rounds) * len(keep))).indices] = True
    return keep


@pytest.mark.parametrize("name", ROUNDS)
@pytest.mark.parametrize("rounds", [1, 2, 5])
@pytest.mark.parametrize("density", [0.5, 0.1])
def test_the_mask_is_that_of_a_loop_by_hand(mlp, batches, name, rounds, density):
    mask = prune(mlp, CRITERIA[name], batches, density=density, settings={"rounds": rounds})
    expected = by_hand(mlp, batches, density, rounds, revive=name == "force")
    assert flat(mask.keep.values()).equal(expected)


@pytest.mark.parametrize("name", ROUNDS)
def test_one_round_is_snip(conv_net, batches, name):
    one, snip = (
        prune(conv_net, CRITERIA[method], batches, density=0.2, settings=settings)
        for method, settings in ((name, {"rounds": 1}), ("snip", None))
    )
    assert all(torch.equal(one.keep[layer], snip.keep[layer]) for layer in one.keep)


def test_only_force_lets_a_weight_come_back():
    """Two weights that share the work: each is worth nothing until the other has gone."""
    model = nn.Linear(4, 1, bias=False).double()
    model.weight.data = torch.tensor([[1.0, 1.02, 0.6, 0.5]], dtype=torch.float64)
    inputs = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    batches = [(inputs, torch.tensor([0, 0]))]

    def loss(output, batch):  # The first pair shall sum to 2, and the second to 2.
        return (output - 2).square().mean()

    kept = {}
    for name in ROUNDS:
        seen = []
        criterion = CRITERIA[name]
        for rounds, density in ((1, 0.5**0.5), (2, 0.5)):
            mask = prune(
                model, criterion, batches, density=density, loss=loss, settings={"rounds": rounds}
            )
            seen.append(mask.keep["weight"][0])
        kept[name] = seen
    for name, (before, after) in kept.items():
        assert bool((after & ~before).any()) == (name == "force"), name


def test_a_loss_that_depends_on_no_weight_is_refused(mlp, batches):
    for name in ROUNDS:
        with pytest.raises(UserError, match="every gradient is 0"):
            prune(
                mlp, CRITERIA[name], batches, density=0.1, loss=lambda output, _: 0 * output.sum()
            )


def test_sixty_rounds_score_sixty_times(mlp, batches):
    left = []
    snip = CRITERIA["iterative_snip"]

    def recording(model, context):
        left.append(sum(int(w.count_nonzero()) for w in prunable(model).values()))
        return snip.score(model, context)

    prune(mlp, replace(snip, score=recording), batches, density=0.1)
    assert left == [round(0.1 ** (t / 60) * 804) for t in range(60)]
