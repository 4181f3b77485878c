"""Training a predictor: time for 11 million triples, and what their compression costs in error.

The uncompressed training is Adam on plain minibatches of the raw rows, in as many steps.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autos.compute import Hardware
from autos.irp.survival import Survival, write_survival
from autos.methods.schedules import linear
from autos.predictors.backbones import BACKBONES
from autos.predictors.config import PaperConfig
from autos.predictors.paper import evaluate
from autos.predictors.paper_fit import fit_regression
from autos.predictors.paper_training import PaperTraining, train_paper
from autos.predictors.rows import Rows
from benchmarks.figures import Figure, at_most, seconds
from benchmarks.synthetic import draw, survival

TRIPLES, SMALL = 11_000_000, 200_000
"""Numbers of triples for the measurement of time, and for that of the error."""

ROUNDS = 20
CONFIG = PaperConfig(backbone="mlp", lr=3e-3)
HARDWARE = Hardware(accelerator="cpu")


def run() -> list[Figure]:
    """Measure the time of a training, and the excess error of the compressed one."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "survival.zarr"
        write_survival(store, {"synthetic": triples()})
        settings = PaperTraining(
            sources="all", autos_paper=CONFIG, survival=store, hardware=HARDWARE
        )
        elapsed = seconds(lambda: train_paper(settings))
    excess = statistics.mean(compressed_over_plain(seed) for seed in range(3)) - 1
    return [
        at_most("fitting: 11 million triples", elapsed, 60, "s"),
        at_most("fitting: validation error over the uncompressed training's", excess, 0.01, "of 1"),
    ]


def triples() -> Survival:
    """Make the surviving scores of a network with one layer of `TRIPLES` weights."""
    inputs, labels = noisy(TRIPLES, seed=0)
    densities = linear(0.05, ROUNDS)
    rounds = (labels * ROUNDS).round().numpy().astype(np.uint16)
    layers = [{"name": "only.weight", "offset": 0, "shape": [TRIPLES]}]
    about = {"densities": densities, "source": {}, "layers": layers}
    return Survival(
        0.1 * inputs[:, 0].numpy(),
        1e-3 * inputs[:, 1].numpy(),
        np.zeros((len(inputs), 4), np.float32),
        rounds,
        about,
    )


def noisy(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw inputs [count, 2], and their survival [count] in [0, 1] with noise."""
    inputs = draw(count, seed)
    noise = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    return inputs, (survival(inputs) + 0.1 * noise).clamp(0, 1)


def compressed_over_plain(seed: int) -> float:
    """Compute the ratio of both trainings' errors, on the same held-out rows."""
    train, held = noisy(SMALL, seed), noisy(SMALL, seed + 100)
    config = CONFIG.model_copy(update={"seed": seed})
    torch.manual_seed(seed)
    compressed, plain = (BACKBONES[config.backbone](2) for _ in range(2))
    plain.load_state_dict(compressed.state_dict())
    rows = Rows.of([train])
    fit_regression(compressed, rows, validation=rows, config=config, hardware=HARDWARE)

    optimizer = torch.optim.Adam(plain.parameters(), lr=config.lr)
    for _ in range(config.epochs):
        for part in torch.randperm(SMALL).split(config.batch_size)[: SMALL // config.batch_size]:
            optimizer.zero_grad()
            F.mse_loss(plain(train[0][part]), train[1][part]).backward()
            optimizer.step()
    errors = [F.mse_loss(evaluate(network, held[0]), held[1]) for network in (compressed, plain)]
    return float(errors[0] / errors[1])
