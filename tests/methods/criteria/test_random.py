"""Random pruning."""

import math

import pytest

from autos.methods.criteria import CRITERIA
from autos.pruning import prune


@pytest.mark.parametrize("density", [0.5, 0.1])
@pytest.mark.parametrize("seed", range(10))
def test_layers_keep_what_drawing_without_replacement_would(mlp, batches, density, seed):
    mask = prune(mlp, CRITERIA["random"], batches, density=density, seed=seed)
    total, kept = mask.total, mask.kept
    for name, keep in mask.keep.items():
        share = keep.numel() / total
        variance = kept * share * (1 - share) * (total - kept) / (total - 1)
        assert abs(int(keep.sum()) - kept * share) < 4 * math.sqrt(variance), name


def test_another_seed_gives_another_mask(mlp, batches):
    one, two = (prune(mlp, CRITERIA["random"], batches, density=0.5, seed=s) for s in (0, 1))
    agreement = (one.keep["fc1.weight"] == two.keep["fc1.weight"]).float().mean()
    assert 0.4 < agreement < 0.6
