"""DVC stage `train_predictor`: AutoS and the paper's predictor learn to foresee survival.

Both are registered in MLflow.
"""

from pathlib import Path
from typing import Any

from autos.compute import Compute
from autos.predictors import autos_fit, paper_training
from autos.predictors.autos import AutoS
from autos.predictors.config import PredictorsConfig
from autos.predictors.paper import PaperPredictor
from autos.storage.predictor_files import PaperReport
from autos.work.executor import run
from autos.work.units import Unit
from stages._params import section
from stages._registry import register
from stages._stage import Stage

SURVIVAL = Path("data/survival.zarr")
OUT = Path("data/predictor")
REPORT = OUT / "autos_paper_report.json"


def units() -> list[Unit]:
    """Return the units that the current parameters name, of the paper's predictor and of AutoS."""
    config = section(PredictorsConfig, "train_predictor")
    hardware = section(Compute, "compute").hardware
    return [paper_training.unit(config, SURVIVAL, hardware), autos_fit.unit(config, SURVIVAL)]


def main() -> None:
    """Run the stage: train both predictors, write them, and register them."""
    config, compute = section(PredictorsConfig, "train_predictor"), section(Compute, "compute")
    training, fitting = units()
    with Stage("train_predictor", config) as stage:
        done = run([[training], [fitting]], workers=compute.workers)
        for _ in stage.progress(done, total=2):
            pass
        autos = AutoS(fitting.result().about["about"])
        autos.save(OUT)
        result = training.result()
        paper = PaperPredictor.from_state(result.tensors, result.about["about"])
        paper.save(OUT)
        report = result.about["report"]
        PaperReport.validated(report, "report").save(REPORT)
        coefficients = {f"coefficient.{name}": b for name, b in autos.coefficients.items()}
        stage.run.log(metrics=metrics(report) | coefficients)
        stage.run.log_artifact(REPORT)
        register(stage, autos, paper)


def metrics(report: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of the stage's run from the report on the paper's predictor.

    They are the training's errors per epoch, and by source the error, the rank correlations, and
    the overlaps at each density in per mille.
    """
    found = {key: list(enumerate(report[key], start=1)) for key in ("train_mse", "validation_mse")}
    for name, network in report["networks"].items():
        found[f"mse.{name}"] = network["mse"]
        steps = [round(1000 * density) for density in network["densities"]]
        for score, overlap in network["overlap"].items():
            found[f"spearman.{score}.{name}"] = network["spearman"][score]
            found[f"overlap.{score}.{name}"] = list(zip(steps, overlap, strict=True))
    return found
