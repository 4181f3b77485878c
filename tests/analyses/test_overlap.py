"""Mask overlap, and what chance gives."""

import pytest
import torch

from autos.analyses.overlap import joined, layerwise_chance, overlap
from autos.errors import UserError
from autos.masks.mask import Mask


def random_mask(density, seed, **shapes):
    generator = torch.Generator().manual_seed(seed)
    shapes = shapes or {"a": (200, 100), "b": (50, 40)}
    return Mask(
        {n: torch.rand(shape, generator=generator) < density for n, shape in shapes.items()}
    )


def inverse(mask):
    return Mask({name: ~keep for name, keep in mask.keep.items()})


def test_a_mask_agrees_with_itself_everywhere_and_with_its_complement_nowhere():
    mask = random_mask(0.3, 0)
    same, opposite = overlap(mask, mask), overlap(mask, inverse(mask))
    assert all(layer.agreement == layer.jaccard == 1 for layer in (*same.values(), joined(same)))
    assert all(layer.agreement == layer.jaccard == 0 for layer in opposite.values())
    assert joined(opposite).agreement == 0


def test_by_hand():
    first, second = torch.tensor([1, 1, 0, 0, 0]).bool(), torch.tensor([1, 0, 1, 1, 0]).bool()
    layer = overlap(Mask({"a": first}), Mask({"a": second}))["a"]
    assert (layer.total, layer.first, layer.second, layer.both) == (5, 2, 3, 1)
    assert layer.agreement == pytest.approx(2 / 5)
    assert layer.jaccard == 1 / 4
    assert layer.chance == pytest.approx(0.4 * 0.6 + 0.6 * 0.4)
    assert layer.jaccard_chance == pytest.approx(1.2 / 3.8)


@pytest.mark.parametrize("density", [0.05, 0.1, 0.5])
def test_random_masks_agree_as_chance_says(density):
    layer = overlap(random_mask(density, 1), random_mask(density, 2))["a"]
    assert layer.chance == pytest.approx(1 - 2 * density * (1 - density), abs=0.01)
    assert layer.agreement == pytest.approx(layer.chance, abs=0.01)
    assert layer.jaccard == pytest.approx(layer.jaccard_chance, abs=0.01)


def test_layer_densities_alone_make_masks_agree():
    """One layer full and one empty: chance anywhere is 1/2, but the layers leave no choice."""
    mask = Mask({"a": torch.ones(10).bool(), "b": torch.zeros(10).bool()})
    layers = overlap(mask, mask)
    assert joined(layers).chance == 0.5
    assert layerwise_chance(layers) == 1
    assert layers["b"].jaccard == layers["b"].jaccard_chance == 1


@pytest.mark.parametrize("other", [{"a": (2, 3)}, {"b": (3, 2)}])
def test_masks_of_different_networks_are_refused(other):
    with pytest.raises(UserError, match="different networks: a is"):
        overlap(random_mask(0.5, 0, a=(3, 2)), random_mask(0.5, 0, **other))
