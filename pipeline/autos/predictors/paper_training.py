"""Trains the paper's predictor on surviving scores and measures it on weights held out."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from autos.compute import Hardware
from autos.config import Config, Name
from autos.errors import extra
from autos.irp.survival import Survival, chosen, read_survival
from autos.predictors.backbones import BACKBONES
from autos.predictors.config import PaperConfig, PredictorsConfig
from autos.predictors.paper import SCALING, PaperPredictor, scaled_inputs
from autos.predictors.rows import Rows
from autos.storage.predictor_files import Input
from autos.storage.zarr_store import store_digest
from autos.work.units import Result, Unit

MAP_RANGE, MAP_POINTS = 4.0, 81
"""The map of predictions goes from -4 to 4, with as many points along an axis."""

BINS = 50
"""Number of bins of the histogram of predictions."""


class PaperTraining(Config):
    """Settings of a unit that trains the paper's predictor."""

    sources: list[Name] | Literal["all"]
    """Names of the source networks to learn from."""
    autos_paper: PaperConfig
    """How the paper's predictor is trained."""
    survival: Path
    """Store of the surviving scores."""
    hardware: Hardware
    """Where to train."""


def train_paper(settings: PaperTraining) -> Result:
    """Train the predictor; its state is described by "about" (as in its JSON file) and "report"."""
    from autos.predictors.paper_fit import fit_regression  # Lightning takes seconds to import.

    config = settings.autos_paper
    networks = chosen(read_survival(settings.survival), settings.sources)
    generator = torch.Generator().manual_seed(config.seed)
    train, held = {}, {}
    for name, network in networks.items():
        order = torch.randperm(len(network.weight), generator=generator)
        count = max(1, round(config.holdout * len(order)))
        held[name], train[name] = order[:count], order[count:]
    inputs = {
        name: scaled_inputs(config.inputs, _values(network), network.sizes)
        for name, network in networks.items()
    }
    labels = {name: _label(network) for name, network in networks.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = BACKBONES[config.backbone](len(config.inputs))

    def rows(chosen: dict[str, Tensor]) -> Rows:
        return Rows.of([(inputs[n][chosen[n]], labels[n][chosen[n]]) for n in networks])

    history = fit_regression(
        backbone,
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
    predictor = PaperPredictor.compiled(backbone.to(settings.hardware.device), about)
    report = {
        "train_mse": history["train_mse"],
        "validation_mse": history["validation_mse"],
        "networks": {
            name: _report(predictor, network, held[name]) for name, network in networks.items()
        },
        "map": _map(predictor),
    }
    return Result(predictor.state(), {"about": predictor.about, "report": report})


def unit(config: PredictorsConfig, survival: Path, hardware: Hardware) -> Unit[PaperTraining]:
    """Name the unit that trains the paper's predictor on the store of surviving scores."""
    settings = PaperTraining(
        sources=config.sources,
        autos_paper=config.autos_paper,
        survival=survival,
        hardware=hardware,
    )
    inputs = {"survival": store_digest(survival)}
    return Unit("train_predictor/autos_paper", train_paper, settings, inputs)


def _values(network: Survival) -> dict[Input, Tensor]:
    return {
        "weight": torch.from_numpy(network.weight),
        "gradient": torch.from_numpy(network.gradient),
    }


def _label(network: Survival) -> Tensor:
    return torch.from_numpy(network.survival.astype(np.float32)) / network.rounds


def _report(predictor: PaperPredictor, network: Survival, held: Tensor) -> dict[str, Any]:
    """Measure the predictor, SNIP and magnitude on the weights that were held out."""
    with extra("pipeline"):
        from scipy.stats import spearmanr  # It takes a second to import.

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


def _map(predictor: PaperPredictor) -> dict[str, Any]:
    """Return the predicted survival on a net of scaled inputs.

    Rows are gradients and columns are weights; with one input there is one row.
    """
    axis = torch.linspace(-MAP_RANGE, MAP_RANGE, MAP_POINTS)
    if len(predictor.inputs) == 1:
        scores = predictor.score(axis[:, None])[None]
    else:
        gradient, weight = torch.meshgrid(axis, axis, indexing="ij")
        values: dict[Input, Tensor] = {"weight": weight.flatten(), "gradient": gradient.flatten()}
        points = torch.stack([values[name] for name in predictor.inputs], dim=1)
        scores = predictor.score(points).view(MAP_POINTS, MAP_POINTS)
    return {"axis": axis.tolist(), "scores": scores.tolist()}
