"""Arguments of `prune` in other forms: each is taken, or refused in one line."""

import pytest
import torch
from torch import nn

from autos.errors import UserError
from autos.methods import METHODS
from autos.predictors.autos import AutoS
from autos.pruning import find, prune
from autos.training.recipe import TrainConfig

RECIPE = {"epochs": 1, "batch_size": 6, "optimizer": "sgd", "lr": 0.1, "schedule": "cosine"}


def test_a_method_may_be_named_and_a_recipe_be_a_mapping(mlp, batches):
    named = find(mlp, "rigl", batches, density=0.5, recipe=RECIPE, hardware={"accelerator": "cpu"})
    plain = find(mlp, METHODS["rigl"], batches, density=0.5, recipe=TrainConfig(**RECIPE))
    assert all(named.mask.keep[name].equal(keep) for name, keep in plain.mask.keep.items())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("snap", r"unknown method 'snap'; did you mean .*'snip'"),
        (AutoS, r"the method is the class AutoS; give an entry of METHODS"),
        (METHODS, "the method is "),
        (None, "the method is None"),
        (lambda model, context: {}, "the method is <function"),
    ],
)
def test_what_is_no_method_is_refused(mlp, batches, method, message):
    with pytest.raises(UserError, match=message):
        prune(mlp, method, batches, density=0.5)


@pytest.mark.parametrize("argument", ["recipe", "hardware"])
@pytest.mark.parametrize("given", [TrainConfig, 3, "sgd", [RECIPE], {"speed": 3}], ids=str)
def test_what_is_no_recipe_and_no_hardware_is_refused(mlp, batches, argument, given):
    with pytest.raises(UserError, match=f"^{argument}"):
        prune(mlp, "snip", batches, density=0.5, **{argument: given})


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.data == "training"])
def test_weights_of_five_axes_and_views_behind_convolutions_are_trained(name):
    if name == "early_bird":
        pytest.skip("it needs BatchNorm")

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat, self.deep = nn.Conv2d(2, 3, 3), nn.Conv3d(1, 2, 2)
            self.head = nn.Linear(4 + 3, 3)

        def forward(self, x):
            y = self.flat(x).view(len(x), 1, 3, 2, 2)  # It needs contiguous memory.
            shallow = y.mean(dim=(3, 4))[:, 0]
            return self.head(torch.cat([self.deep(y).flatten(1), shallow], dim=1))

    batches = [(torch.randn(6, 2, 4, 4), torch.arange(6) % 3)]
    mask = prune(Net(), name, batches, density=0.5, recipe=RECIPE)
    assert mask.kept == round(0.5 * mask.total)
