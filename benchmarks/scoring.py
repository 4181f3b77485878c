"""Throughput of a compiled predictor: against the published way, and against copying its inputs.

The published way is to run the `resnet18` backbone once per weight, with a batch of one.
"""

import statistics

import torch

from autos.predictors.backbones import BACKBONES
from autos.predictors.paper import PaperPredictor, PredictedScores
from benchmarks.figures import Figure, at_least, seconds
from benchmarks.synthetic import draw, learned

WEIGHTS = 2**26
REPEATS = 5
ONE_BY_ONE = 20
"""Number of weights that are scored in the published way."""


def run() -> list[Figure]:
    """Measure the speed of scoring, against the published way and against copying the inputs."""
    network = learned("mlp", steps=1000, batch_size=1024, lr=3e-3)
    lookup = PaperPredictor.compiled(network, {"inputs": ["weight", "gradient"]}).lookup
    weight, gradient = torch.randn(2, WEIGHTS)
    scores = PredictedScores(
        lookup, ["weight", "gradient"], {"weight": {"": weight}, "gradient": {"": gradient}}
    )
    resnet = BACKBONES["resnet18"](2).eval()
    points = draw(ONE_BY_ONE, seed=0).split(1)
    copy = torch.zeros(2, WEIGHTS)

    def score() -> None:
        for _ in scores.pieces(""):
            pass

    def copy_inputs() -> None:
        copy[0].copy_(weight)
        copy[1].copy_(gradient)

    @torch.no_grad()
    def one_by_one() -> None:
        for point in points:
            resnet(point)

    one_by_one()
    times = [[seconds(work) for work in (score, copy_inputs, one_by_one)] for _ in range(REPEATS)]
    speedup = statistics.median(
        (single / ONE_BY_ONE) / (ours / WEIGHTS) for ours, _, single in times
    )
    fraction = statistics.median(plain / ours for ours, plain, _ in times)
    rate = WEIGHTS / statistics.median(ours for ours, _, _ in times)
    print(f"{rate / 1e6:.0f} million weights a second, {lookup.scores.shape[1]} nodes an axis")
    return [
        at_least("scoring: speed over resnet18 weight by weight", speedup, 1e6, "times"),
        at_least("scoring: share of the speed of copying the inputs", fraction, 1 / 3, "of 1"),
    ]
