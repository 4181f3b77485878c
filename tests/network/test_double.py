"""Models that make single precision themselves are scored in double precision all the same."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from autos.predictors.autos import AutoS
from autos.pruning import prune

WIDTH, CLASSES = 6, 3


class Forced(nn.Module):
    """Single precision by a cast, a state, a one-hot code, and numbers; or the input's."""

    def __init__(self, forced):
        super().__init__()
        self.forced = forced
        self.first, self.state = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x):
        dtype = torch.float32 if self.forced else x.dtype
        x = x.float() if self.forced else x
        state = torch.zeros(len(x), WIDTH, dtype=dtype)
        code = F.one_hot(torch.zeros(len(x), dtype=torch.long), WIDTH).to(dtype)
        times = torch.arange(WIDTH, dtype=dtype) / 8
        for _ in range(2):
            state = (self.first(x) + self.state(state)).relu() + code + times
        return self.head(state)


@pytest.mark.parametrize("method", ["synflow", "npb", "autos"])
@pytest.mark.parametrize("scale", [1, 1e25], ids=["plain", "beyond single precision"])
def test_the_mask_is_that_of_a_model_that_keeps_its_inputs_precision(method, scale):
    plain, forced = Forced(False), Forced(True)
    with torch.no_grad():
        plain.first.weight.mul_(scale if method != "autos" else 1)
    forced.load_state_dict(plain.state_dict())
    batches = [(torch.randn(6, WIDTH), torch.arange(6) % CLASSES)]
    masks = [
        prune(model, AutoS.load() if method == "autos" else method, batches, density=0.3, seed=1)
        for model in (plain, forced)
    ]
    assert all(masks[1].keep[name].equal(keep) for name, keep in masks[0].keep.items())
