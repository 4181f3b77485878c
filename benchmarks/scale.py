"""Scoring and exact global selection on large networks, gradients given: time and peak memory."""

import statistics
from collections.abc import Mapping

import torch
from torch import Tensor

from autos.masks.bits import Bits
from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.network.prunable import prunable
from autos.predictors.lookup import Lookup
from autos.predictors.paper import PaperPredictor, PredictedScores
from benchmarks.figures import Figure, at_least, at_most, peak_memory, seconds
from benchmarks.synthetic import learned

DENSITY = 0.05
BILLION = {f"layer{i}": torch.Size([10_000, 10_000]) for i in range(10)}
"""Shapes of the layers of a network of a billion weights."""


def run() -> list[Figure]:
    """Measure time and memory for ResNet-50, and for a billion weights."""
    from torchvision.models import resnet50  # It takes seconds to import.

    network = learned("mlp", steps=1000, batch_size=1024, lr=3e-3)
    lookup = PaperPredictor.compiled(network, {"inputs": ["weight", "gradient"]}).lookup
    figures = []

    weights = {name: weight.detach() for name, weight in prunable(resnet50()).items()}
    gradients = {name: torch.randn_like(weight) for name, weight in weights.items()}
    times = [seconds(lambda: select(lookup, weights, gradients)) for _ in range(5)]
    figures.append(at_most("scale: resnet50", statistics.median(times), 2, "s"))

    weights = {name: 0.01 * torch.randn(shape) for name, shape in BILLION.items()}
    gradients = {name: torch.randn(shape).mul_(1e-3) for name, shape in BILLION.items()}
    size = sum(weight.nbytes for weight in weights.values())
    masks: list[Mask] = []
    times = []

    def work() -> None:
        times.append(seconds(lambda: masks.append(select(lookup, weights, gradients))))

    memory = peak_memory(work)
    exact = masks[0].kept == round(DENSITY * masks[0].total)
    figures.append(at_most("scale: a billion weights", times[-1], 60, "s"))
    figures.append(at_most("scale: peak memory of a billion weights", memory / size, 0.25, "model"))
    figures.append(at_least("scale: exactly round(density * n) kept", float(exact), 1, "of 1"))
    return figures


def select(lookup: Lookup, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> Mask:
    """Score all weights by a lookup, and keep the best of the network."""
    everything = Mask(Bits.full({name: weight.shape for name, weight in weights.items()}, True))
    return keep_top(
        PredictedScores(lookup, ["weight", "gradient"], {"weight": weights, "gradient": gradients}),
        DENSITY,
        within=everything,
    )
