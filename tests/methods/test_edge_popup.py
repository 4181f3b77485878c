"""Edge-popup and its variants, step by step on scores that the test sets."""

import pytest
import torch

from autos.methods.base import Context
from autos.methods.edge_popup import CUTS, METHOD, EdgePopup, Settings
from autos.pruning import find
from autos.training.callbacks import Loop
from autos.training.recipe import TrainConfig

RECIPE = TrainConfig(epochs=2, batch_size=6, optimizer="adam", lr=1e-3, schedule="cosine")
STEPS = CUTS + 1


def popup(model, density, **settings):
    generator = torch.Generator().manual_seed(0)
    return EdgePopup(model, Context([], density, generator, settings=Settings(**settings)))


def at(step):
    return Loop(None, None, {}, {}, step, STEPS, 1)


def kept(search):
    return {name: part.keep.bool() for name, part in search.scored.items()}


def by_hand(scores, count):
    """The highest |score|, by sorting."""
    top = torch.zeros(scores.numel(), dtype=torch.bool)
    top[scores.abs().flatten().argsort(descending=True)[:count]] = True
    return top.view(scores.shape)


def test_scores_start_uniform_within_one_over_the_root_of_fan_in(mlp, conv_net):
    for model, fans in ((mlp, (64, 12)), (conv_net, (9, 9, 8))):
        for part, fan in zip(popup(model, 0.5).scores.values(), fans, strict=True):
            assert 0.8 * fan**-0.5 < part.abs().max() <= fan**-0.5
            assert abs(part.mean()) < 0.3 * fan**-0.5


@pytest.mark.parametrize(("density", "counts"), [(0.25, (9, 18, 6)), (0.5, (18, 36, 12))])
def test_each_layer_keeps_its_highest_absolute_scores(conv_net, density, counts):
    search = popup(conv_net, density)
    search.on_start(at(0))
    for (name, keep), count in zip(kept(search).items(), counts, strict=True):
        assert torch.equal(keep, by_hand(search.scores[name], count))


@pytest.mark.parametrize("density", [0.01, 0.1, 0.33, 0.777, 1])
def test_layers_keep_the_same_density_up_to_one_weight(mlp, density):
    search = popup(mlp, density)
    search.on_start(at(0))
    for keep in kept(search).values():
        assert abs(int(keep.sum()) - density * keep.numel()) < 1
    assert search.mask.kept == round(density * 804)


def test_in_the_global_scope_all_layers_share_a_threshold(mlp):
    search = popup(mlp, 0.1, scope="global")
    search.on_start(at(0))
    scores = torch.cat([part.flatten() for part in search.scores.values()])
    keep = torch.cat([part.flatten() for part in kept(search).values()])
    assert torch.equal(keep, by_hand(scores, 80))
    densities = list(search.mask.layer_densities().values())
    assert densities[1] > 2 * densities[0]  # fan-in makes the last layer's scores larger


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_equal_scores_are_not_pruned_together(mlp, scope):
    search = popup(mlp, 0.1, scope=scope)
    for part in search.scores.values():
        part.fill_(-0.5)
    search.on_start(at(0))
    assert search.mask.kept == 80


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_the_density_falls_step_by_step_and_pruned_weights_may_return(mlp, scope):
    search = popup(mlp, 0.1, scope=scope, gradual=True)
    generator = torch.Generator().manual_seed(1)
    returned = 0
    for step in range(STEPS + 1):
        before = kept(search)
        for part in search.scores.values():
            part.copy_(torch.randn(part.shape, generator=generator))
        search.after_step(at(step))
        assert search.mask.kept == round(0.1 ** (min(step, CUTS) / CUTS) * 804)
        returned += sum(int((kept(search)[n] & ~before[n]).sum()) for n in before)
    assert search.mask.kept == 80 and returned > 0


def test_the_gradient_of_a_score_is_that_of_its_mask_times_its_sign(mlp):
    for part in popup(mlp, 0.3).scored.values():
        gradient = torch.randn_like(part.scores)
        (part.mask() * gradient).sum().backward()
        assert torch.equal(part.scores.grad, gradient * part.scores.detach().sign())


def test_what_is_found_is_the_mask_of_the_trained_scores(mlp, batches):
    one, two = (
        find(mlp, METHOD, batches, density=0.3, recipe=RECIPE, settings={"epochs": n}).mask
        for n in (1, 8)
    )
    untrained = popup(mlp, 0.3)
    untrained.on_start(at(0))
    overlaps = [
        sum(int((mask.keep[n] & untrained.mask.keep[n]).sum()) for n in mask.keep)
        for mask in (one, two)
    ]
    assert 241 > overlaps[0] > overlaps[1] > 0.3 * 241


def test_every_variant_finds_a_mask_of_the_exact_size(conv_net, batches):
    for settings in (
        {"scope": "global"},
        {"gradual": True},
        {"scope": "global", "gradual": True, "regularization": 1e-4},
    ):
        found = find(conv_net, METHOD, batches, density=0.2, recipe=RECIPE, settings=settings)
        assert found.mask.kept == round(0.2 * 132)
        assert not found.trained and found.step == 0
