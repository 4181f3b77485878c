"""Gem-Miner, step by step on scores that the test sets, and in small trainings."""

import pytest
import torch

from autos.compute import Hardware
from autos.methods.base import Context
from autos.methods.gem_miner import METHOD, GemMiner, Settings
from autos.network.batches import cross_entropy
from autos.pruning import find
from autos.training.budget import Budget
from autos.training.callbacks import Loop
from autos.training.recipe import TrainConfig

RECIPE = TrainConfig(epochs=20, batch_size=6, optimizer="adam", lr=1e-3, schedule="cosine")


def context(batches, density, **settings):
    generator = torch.Generator().manual_seed(0)
    return Context(batches, density, generator, settings=Settings(**settings))


def at(step, steps=150):
    return Loop(None, None, {}, {}, step, steps, 1)


def flat(masks):
    return torch.cat([masks[name].bool().flatten() for name in masks])


def chosen(miner):
    return flat({name: part.keep for name, part in miner.scored.items()})


def test_scores_start_uniform_between_0_and_1(mlp):
    scores = flat_scores(GemMiner(mlp, context([], 0.5)))
    assert 0 <= scores.min() < 0.02 and 0.98 < scores.max() < 1
    assert abs(scores.mean() - 0.5) < 4 * (1 / 12 / 804) ** 0.5


def flat_scores(miner):
    return torch.cat([part.flatten() for part in miner.scores.values()])


def test_scores_are_projected_and_rounded_half_up(mlp):
    miner = GemMiner(mlp, context([], 1))
    values = torch.tensor([-3.0, 0.25, 0.49, 0.5, 0.75, 1.0, 7.0])
    miner.scores["fc1.weight"].flatten()[:7] = values
    miner.after_step(at(1))
    assert flat_scores(miner)[:7].tolist() == values.clamp(0, 1).tolist()
    assert chosen(miner)[:7].tolist() == [False, False, False, True, True, True, True]


def test_the_gradient_of_a_score_is_that_of_its_mask(mlp):
    for part in GemMiner(mlp, context([], 0.3)).scored.values():
        gradient = torch.randn_like(part.scores)
        (part.mask() * gradient).sum().backward()
        assert torch.equal(part.scores.grad, gradient)


def test_the_frozen_are_the_lowest_of_all_layers_and_never_revive(mlp):
    """29 freezes for 150 epochs and a period of 5, whatever scores do between them."""
    miner = GemMiner(mlp, context([], 0.05))
    generator = torch.Generator().manual_seed(1)
    for epoch in range(151):
        for part in miner.scores.values():
            part.copy_(torch.rand(part.shape, generator=generator))
        before = flat(miner.active.keep)
        miner.after_step(at(epoch))
        active, scores = flat(miner.active.keep), flat_scores(miner)
        expected = round(0.05 ** (min(epoch // 5, 29) / 29) * 804)
        assert int(active.sum()) == expected
        assert not (active & ~before).any()
        if (before & ~active).any():
            assert epoch % 5 == 0 and 5 <= epoch <= 145
            assert scores[before & ~active].max() < scores[active].min()
        assert torch.equal(chosen(miner), active & (scores >= 0.5))
    # The printed algorithm, a fraction 1 - exp(-cj) of what is left, would leave none of them.
    assert expected == 40


def test_without_freezing_and_penalty_about_half_is_kept(mlp, batches):
    setting = context(batches, 1.0, regularization=0)
    miner = GemMiner(mlp, setting)
    budget = Budget(RECIPE, batches, cross_entropy, 0, Hardware())
    miner.train(mlp, budget, setting.settings)
    assert miner.active.kept == 804
    assert abs(int(chosen(miner).sum()) / 804 - 0.5) < 0.1


def test_the_penalty_thins_the_mask_out_on_its_own(mlp, batches):
    setting = context(batches, 1.0, regularization=0.01)
    miner = GemMiner(mlp, setting)
    miner.train(mlp, Budget(RECIPE, batches, cross_entropy, 0, Hardware()), setting.settings)
    assert int(chosen(miner).sum()) < 0.35 * 804


@pytest.mark.parametrize("regularization", [0, 0.01])
def test_what_is_found_has_the_exact_count_even_if_more_is_rounded_off(
    mlp, batches, regularization
):
    found = find(
        mlp,
        METHOD,
        batches,
        density=0.6,
        recipe=RECIPE,
        settings={"regularization": regularization},
    )
    assert found.mask.kept == round(0.6 * 804)
    assert not found.trained and found.step == 0


def test_a_search_of_few_steps_still_ends_at_the_density(mlp, batches):
    one_batch = batches[:1]
    found = find(mlp, METHOD, one_batch, density=0.1, recipe=RECIPE, settings={"epochs": 1})
    assert found.mask.kept == 80
