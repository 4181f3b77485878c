"""What tests of methods that train share."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from autos.compute import Hardware
from autos.methods.base import Context
from autos.network.batches import cross_entropy
from autos.network.prunable import prunable
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop
from autos.training.recipe import TrainConfig

SGD = {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
ADAM = {"optimizer": "adam", "lr": 3e-2}


@pytest.fixture(params=[SGD, ADAM], ids=["sgd", "adam"])
def optimizer(request):
    """Of a recipe."""
    return request.param


@pytest.fixture
def epoch(images):
    """All training images, in batches of 20, 20, 20 and 15."""
    pixels = images.normalize(images.train.images)
    return list(zip(pixels.split(20), images.train.labels.split(20), strict=True))


@pytest.fixture
def toy():
    """Makes the loop of a float64 network of linear layers, with masks, gradients and momentum.

    What is not given is random. No forward pass is ever run: the tests set the gradients.
    """

    def make(weights, keep=None, *, optimizer="sgd", step=0, steps=100, steps_per_epoch=10, lr=0.1):
        generator = torch.Generator().manual_seed(1)
        layers = {}
        for name, value in weights.items():
            value = torch.as_tensor(value, dtype=torch.float64)
            layers[name] = nn.Linear(*reversed(value.shape), dtype=torch.float64)
            layers[name].weight.data.copy_(value)
        model = nn.ModuleDict(layers)
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
        momentum = {"momentum": 0.9} if optimizer == "sgd" else {}
        trained = kind(model.parameters(), lr=lr, **momentum)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator).double()
        before = {name: value.clone() for name, value in model.state_dict().items()}
        trained.step()
        model.load_state_dict(before)
        named = prunable(model)
        masks = {name: torch.ones_like(weight) for name, weight in named.items()}
        for name, mask in (keep or {}).items():
            masks[f"{name}.weight"] = torch.as_tensor(mask, dtype=torch.float64)
        with torch.no_grad():
            for name, weight in named.items():
                weight *= masks[name]
        return Loop(model, trained, named, masks, step, steps, steps_per_epoch)

    return make


@dataclass
class Moment:
    """After a step, when the method has done its work: all that it may have changed."""

    keep: dict
    state: dict
    memory: dict  # the optimizer's, by weight, without counts of steps

    @property
    def counts(self):
        return [int(keep.sum()) for keep in self.keep.values()]


class Watch(Callback):
    def __init__(self):
        self.moments = []

    def on_start(self, loop):
        self.after_step(loop)

    def after_step(self, loop):
        memory = {
            name: [
                s.clone() for s in loop.optimizer.state[weight].values() if s.shape == weight.shape
            ]
            for name, weight in loop.weights.items()
        }
        self.moments.append(
            Moment(
                {name: keep.bool() for name, keep in loop.keep.items()},
                {name: value.clone() for name, value in loop.model.state_dict().items()},
                memory,
            )
        )


class Watched(Budget):
    """Trains as ever, and looks on."""

    watches = ()

    def train(self, model, *, callbacks=(), **options):
        super().train(model, callbacks=[*callbacks, *self.watches], **options)


@pytest.fixture
def watched(epoch):
    """Runs a method on a copy of a model: what it finds, and a moment before the first step and
    after each of the 5 * 4."""

    def run(model, method, recipe, *, density=0.3, seed=0, **settings):
        recipe = TrainConfig(epochs=5, batch_size=20, schedule="cosine", **recipe)
        budget = Watched(recipe, epoch, cross_entropy, seed, Hardware(accelerator="cpu"))
        watch = Watch()
        object.__setattr__(budget, "watches", (watch,))
        context = Context(
            epoch,
            density,
            torch.Generator().manual_seed(seed),
            settings=method.settings(**settings),
            budget=budget,
            seed=seed,
        )
        return method.find(model, context), watch.moments

    return run
