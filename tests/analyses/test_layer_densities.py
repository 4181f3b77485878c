"""Layer densities, beside ERK and uniform allocation."""

import pytest
import torch

from autos.analyses.layer_densities import layer_densities
from autos.errors import UserError
from autos.masks.allocation import erk
from autos.masks.mask import Mask


def mask(*kept):
    keep = {}
    for name, count, size in zip("abc", kept, (20, 100, 40), strict=True):
        keep[name] = (torch.arange(size) < count).view(-1, 10)
    return Mask(keep)


def test_every_column_keeps_as_many_weights():
    found = layer_densities({"one": mask(20, 10, 2), "two": mask(2, 10, 20)})
    assert found["one"] == {"a": 1.0, "b": 0.1, "c": 0.05}
    assert found["two"] == {"a": 0.1, "b": 0.1, "c": 0.5}
    assert list(found) == ["one", "two", "ERK", "uniform"]
    for densities in found.values():
        assert densities["a"] * 20 + densities["b"] * 100 + densities["c"] * 40 == pytest.approx(32)
    counts = erk(mask(20, 10, 2).shapes, 32)
    assert found["ERK"] == {"a": counts["a"] / 20, "b": counts["b"] / 100, "c": counts["c"] / 40}
    assert found["uniform"] == dict.fromkeys("abc", 0.2)


def test_masks_of_different_density_are_refused():
    with pytest.raises(UserError, match="one keeps 32 weights and two 31"):
        layer_densities({"one": mask(20, 10, 2), "two": mask(19, 10, 2)})
