"""Agreement of the masks of compiled and uncompiled predictors, for every backbone.

Masks are those of three architectures. The large backbones score few weights a second (one core
scores about 100 with `resnet18`, 6 with `vgg19`), so they get narrow networks, and are not asked at
the nodes of the finest lookups.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.network.gradients import mean_gradient
from autos.network.initialize import initialize
from autos.network.prunable import prunable
from autos.predictors.lookup import Lookup
from autos.predictors.paper import PredictedScores, evaluate, scaled_inputs
from benchmarks.criteria import intersection_over_union
from benchmarks.figures import Figure, at_least, seconds
from benchmarks.synthetic import learned, learned_vgg19
from models import ARCHITECTURES

DENSITIES = (0.1, 0.05, 0.01)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: learned("mlp", steps=1000, batch_size=1024, lr=3e-3),
    "resnet18": lambda: learned("resnet18", steps=60, batch_size=32),
    "vgg19": lambda: learned_vgg19(samples=256, steps=200),
}
"""Functions that make a trained network, by backbone."""

FINEST = {"mlp": None, "resnet18": 257, "vgg19": 65}
"""Number of nodes on an axis of the finest lookup at which the backbone is asked."""

WIDTHS = {
    "mlp": {"lenet_5": 1.0, "resnet_20": 1.0, "vgg_16": 0.1},
    "resnet18": {"lenet_5": 0.2, "resnet_20": 0.1, "vgg_16": 0.015},
    "vgg19": {"lenet_5": 0.1, "resnet_20": 0.05, "vgg_16": 0.008},
}
"""Width of every architecture, by backbone."""


def run() -> list[Figure]:
    """Measure the agreement of masks for every backbone."""
    return [agreement(backbone) for backbone in NETWORKS]


def agreement(backbone: str) -> Figure:
    """Measure the least agreement of masks over architectures and densities, for a backbone."""
    network = NETWORKS[backbone]()
    asked = 0

    def counted(points: Tensor) -> Tensor:
        nonlocal asked
        asked += len(points)
        return evaluate(network, points)

    made: list[Lookup] = []
    time = seconds(lambda: made.append(Lookup.of(counted, 2, finest=FINEST[backbone])))
    print(f"{backbone}: a lookup of {asked} scores in {time:.0f} s", flush=True)
    shares = [
        share
        for architecture, width in WIDTHS[backbone].items()
        for share in compare(network, made[0], architecture, width)
    ]
    return at_least(f"lookup: least agreement for {backbone}", min(shares), 0.999, "IoU")


def compare(network: nn.Module, lookup: Lookup, architecture: str, width: float) -> list[float]:
    """Compute the agreement of the masks at each density, as intersection over union."""
    build: Any = ARCHITECTURES[architecture]
    model = build(num_classes=10, in_channels=1, image_size=28, width=width)
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 1, 28, 28, generator=generator)
    labels = torch.randint(0, 10, (64,), generator=generator)
    weights = {name: weight.detach() for name, weight in prunable(model).items()}
    gradients = mean_gradient(model, [(images, labels)])
    flat = {
        "weight": torch.cat([weight.flatten() for weight in weights.values()]),
        "gradient": torch.cat([gradients[name].flatten() for name in weights]),
    }
    sizes = [weight.numel() for weight in weights.values()]
    exact = evaluate(network, scaled_inputs(["weight", "gradient"], flat, sizes))
    parts = exact.split(sizes)
    uncompiled = {
        name: part.view(weight.shape)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }
    compiled = PredictedScores(
        lookup, ["weight", "gradient"], {"weight": weights, "gradient": gradients}
    )
    everything = Mask.dense(model)
    shares = []
    for density in DENSITIES:
        one = keep_top(compiled, density, everything)
        two = keep_top(uncompiled, density, everything)
        shares.append(intersection_over_union(one.keep, two.keep))
    print(f"  {architecture}: {everything.total} weights, {shares}", flush=True)
    return shares
