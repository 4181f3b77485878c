"""Masks of compiled and uncompiled predictors, for every backbone on three architectures.

The large backbones score few weights a second (one core scores about 100 with `resnet18`, 6 with
`vgg19`), so they get narrow networks, and are not asked at the nodes of the finest tables.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.criteria import intersection_over_union
from benchmarks.figures import Figure, at_least, seconds
from benchmarks.synthetic import learned, learned_vgg19
from models import ARCHITECTURES
from models._init import initialize
from pipeline.gradients import mean_gradient
from pipeline.masks import Mask
from pipeline.predictor import PredictedScores, evaluate, features
from pipeline.prunable import prunable
from pipeline.selection import keep_top
from pipeline.table import Table

DENSITIES = (0.1, 0.05, 0.01)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: learned("mlp", steps=1000, batch_size=1024, lr=3e-3),
    "resnet18": lambda: learned("resnet18", steps=60, batch_size=32),
    "vgg19": lambda: learned_vgg19(samples=256, steps=200),
}
FINEST = {"mlp": None, "resnet18": 257, "vgg19": 65}
WIDTHS = {
    "mlp": {"lenet_5": 1.0, "resnet_20": 1.0, "vgg_16": 0.1},
    "resnet18": {"lenet_5": 0.2, "resnet_20": 0.1, "vgg_16": 0.015},
    "vgg19": {"lenet_5": 0.1, "resnet_20": 0.05, "vgg_16": 0.008},
}


def run() -> list[Figure]:
    return [agreement(backbone) for backbone in NETWORKS]


def agreement(backbone: str) -> Figure:
    network = NETWORKS[backbone]()
    asked = 0

    def counted(points: Tensor) -> Tensor:
        nonlocal asked
        asked += len(points)
        return evaluate(network, points)

    made: list[Table] = []
    time = seconds(lambda: made.append(Table.of(counted, 2, finest=FINEST[backbone])))
    print(f"{backbone}: a table of {asked} scores in {time:.0f} s", flush=True)
    shares = [
        share
        for architecture, width in WIDTHS[backbone].items()
        for share in compare(network, made[0], architecture, width)
    ]
    return at_least(f"tables: least agreement for {backbone}", min(shares), 0.999, "IoU")


def compare(network: nn.Module, table: Table, architecture: str, width: float) -> list[float]:
    """Agreement of the masks at each density."""
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
    exact = evaluate(network, features(["weight", "gradient"], flat, sizes))
    parts = exact.split(sizes)
    uncompiled = {
        name: part.view(weight.shape)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }
    compiled = PredictedScores(
        table, ["weight", "gradient"], {"weight": weights, "gradient": gradients}
    )
    everything = Mask.dense(model)
    shares = []
    for density in DENSITIES:
        one = keep_top(compiled, density, everything)
        two = keep_top(uncompiled, density, everything)
        shares.append(intersection_over_union(one.keep, two.keep))
    print(f"  {architecture}: {everything.total} weights, {shares}", flush=True)
    return shares
