"""Training a predictor: time for 11 million triples, and what their compression costs in error.

Uncompressed: Adam on plain minibatches of the raw rows, in as many steps.
"""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.figures import Figure, at_most, seconds
from benchmarks.synthetic import draw, survival
from models.autos import BACKBONES
from pipeline.compression import Rows
from pipeline.compute import Hardware
from pipeline.predictor import evaluate
from pipeline.predictor_fit import fit_regression
from pipeline.predictor_training import PredictorConfig, PredictorTraining, train_predictor
from pipeline.schedules import linear
from pipeline.survival import Survival, write_survival

TRIPLES, SMALL = 11_000_000, 200_000
ROUNDS = 20
CONFIG = PredictorConfig(backbone="mlp", lr=3e-3)
HARDWARE = Hardware(accelerator="cpu")


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "survival.zarr"
        write_survival(store, {"synthetic": triples()})
        settings = PredictorTraining(predictor=CONFIG, survival=store, hardware=HARDWARE)
        elapsed = seconds(lambda: train_predictor(settings))
    excess = statistics.mean(compressed_over_plain(seed) for seed in range(3)) - 1
    return [
        at_most("fitting: 11 million triples", elapsed, 60, "s"),
        at_most("fitting: validation error over the uncompressed training's", excess, 0.01, "of 1"),
    ]


def triples() -> Survival:
    inputs, labels = noisy(TRIPLES, seed=0)
    densities = linear(0.05, ROUNDS)
    rounds = (labels * ROUNDS).round().numpy().astype(np.uint16)
    about = {"densities": densities, "source": {}, "layers": [{"shape": [TRIPLES]}]}
    return Survival(
        0.1 * inputs[:, 0].numpy(),
        1e-3 * inputs[:, 1].numpy(),
        np.zeros((len(inputs), 4), np.float32),
        rounds,
        about,
    )


def noisy(count: int, seed: int) -> tuple[Tensor, Tensor]:
    inputs = draw(count, seed)
    noise = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    return inputs, (survival(inputs) + 0.1 * noise).clamp(0, 1)


def compressed_over_plain(seed: int) -> float:
    """Ratio of the errors on the same held-out rows."""
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
