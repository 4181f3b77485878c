"""Trains the paper's predictor on surviving scores and measures it on weights held out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from models.autos import BACKBONES
from pipeline.autos import FEATURES, Feature
from pipeline.compression import Rows
from pipeline.compute import Hardware
from pipeline.config import DISTINCT, Config, Name, one_of
from pipeline.predictor import SCALING, Input, Predictor, features
from pipeline.stores import store_digest
from pipeline.survival import Survival, chosen, read_survival
from pipeline.units import Result, Unit

MAP_RANGE, MAP_POINTS = 4.0, 81
BINS = 50


class PredictorConfig(Config):
    """Section `train_predictor`; the defaults are those of the paper (Table 7 and B.2)."""

    sources: list[Name] | Literal["all"] = "all"
    """Sources of section `irp` to learn from; their weights are merged."""
    features: Annotated[list[Feature], DISTINCT] = Field(list(FEATURES), min_length=1)
    """What AutoS learns from; all that follows is of the paper's predictor."""
    backbone: Annotated[str, one_of("backbone", BACKBONES)] = "resnet18"
    inputs: Annotated[list[Input], DISTINCT] = Field(["weight", "gradient"], min_length=1)
    holdout: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of every source's weights, drawn at random, kept out of training."""
    epochs: int = Field(default=10, gt=0)
    batch_size: int = Field(default=1024, gt=1)
    lr: float = Field(default=0.01, gt=0)
    seed: int = 0


class PredictorTraining(Config):
    """Settings of a unit: one training of a predictor."""

    predictor: PredictorConfig
    survival: Path
    hardware: Hardware


def train_predictor(settings: PredictorTraining) -> Result:
    """The predictor's state, described by "about" (as in predictor.json) and "report"."""
    from pipeline.predictor_fit import fit_regression  # Lightning takes seconds to import

    config = settings.predictor
    networks = chosen(read_survival(settings.survival), config.sources)
    generator = torch.Generator().manual_seed(config.seed)
    train, held = {}, {}
    for name, network in networks.items():
        order = torch.randperm(len(network.weight), generator=generator)
        count = max(1, round(config.holdout * len(order)))
        held[name], train[name] = order[:count], order[count:]
    inputs = {
        name: features(config.inputs, _values(network), network.sizes)
        for name, network in networks.items()
    }
    labels = {name: _label(network) for name, network in networks.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        predictor_network = BACKBONES[config.backbone](len(config.inputs))

    def rows(chosen: dict[str, Tensor]) -> Rows:
        return Rows.of([(inputs[n][chosen[n]], labels[n][chosen[n]]) for n in networks])

    history = fit_regression(
        predictor_network,
        rows(train),
        validation=rows(held),
        config=config,
        hardware=settings.hardware,
    )
    about = {
        "backbone": config.backbone,
        "inputs": list(config.inputs),
        "scaling": SCALING,
        "target": "rounds survived / number of rounds",
        "training": config.model_dump(mode="json"),
        "sources": {name: network.about["source"] for name, network in networks.items()},
    }
    predictor = Predictor.compiled(predictor_network.to(settings.hardware.device), about)
    report = {
        "train_mse": history["train_mse"],
        "validation_mse": history["validation_mse"],
        "networks": {
            name: _report(predictor, network, held[name]) for name, network in networks.items()
        },
        "map": _map(predictor),
    }
    return Result(predictor.state(), {"about": predictor.about, "report": report})


def unit(config: PredictorConfig, survival: Path, hardware: Hardware) -> Unit:
    settings = PredictorTraining(predictor=config, survival=survival, hardware=hardware)
    inputs = {"survival": store_digest(survival)}
    return Unit("train_predictor/predictor", train_predictor, settings, inputs)


def _values(network: Survival) -> dict[Input, Tensor]:
    return {
        "weight": torch.from_numpy(network.weight),
        "gradient": torch.from_numpy(network.gradient),
    }


def _label(network: Survival) -> Tensor:
    return torch.from_numpy(network.survival.astype(np.float32)) / network.rounds


def _report(predictor: Predictor, network: Survival, held: Tensor) -> dict[str, Any]:
    """Figures on the held-out weights: the predictor's, and those of SNIP and magnitude."""
    from scipy.stats import spearmanr

    values, label = _values(network), _label(network)[held]
    predicted = predictor.predict(values, network.sizes)[held]
    scores = {
        "autos_paper": predicted,
        "snip": (values["weight"] * values["gradient"]).abs()[held],
        "magnitude": values["weight"].abs()[held],
    }
    counts = torch.from_numpy(network.survival.astype(np.int64))[held]
    overlap: dict[str, list[float]] = {name: [] for name in scores}
    orders = {name: score.argsort(descending=True, stable=True) for name, score in scores.items()}
    for survived in range(1, network.rounds + 1):
        truth = counts >= survived
        kept = int(truth.sum())
        for name, order in orders.items():
            best = order[:kept]
            overlap[name].append(float(truth[best].float().mean()) if kept else float("nan"))
    edges = torch.linspace(0, 1, BINS + 1)
    joint = torch.zeros(network.rounds + 1, BINS)
    column = (torch.bucketize(predicted, edges) - 1).clamp(0, BINS - 1)
    joint.index_put_((counts, column), torch.ones(len(held)), accumulate=True)
    return {
        "held_out": len(held),
        "mse": float(F.mse_loss(predicted, label)),
        "label_variance": float(label.var(correction=0)),
        "spearman": {n: float(spearmanr(s, counts).statistic) for n, s in scores.items()},
        "densities": network.about["densities"],
        "overlap": overlap,
        "joint_histogram": joint.int().tolist(),
    }


def _map(predictor: Predictor) -> dict[str, Any]:
    """Predicted survival on a grid of scaled inputs."""
    axis = torch.linspace(-MAP_RANGE, MAP_RANGE, MAP_POINTS)
    # Rows are gradients, columns are weights; with one input there is one row.
    if len(predictor.inputs) == 1:
        scores = predictor.score(axis[:, None])[None]
    else:
        gradient, weight = torch.meshgrid(axis, axis, indexing="ij")
        values: dict[Input, Tensor] = {"weight": weight.flatten(), "gradient": gradient.flatten()}
        grid = torch.stack([values[name] for name in predictor.inputs], dim=1)
        scores = predictor.score(grid).view(MAP_POINTS, MAP_POINTS)
    return {"axis": axis.tolist(), "scores": scores.tolist()}
