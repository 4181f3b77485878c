"""DVC stage `train_predictor`: learn to predict survival, as AutoS and as the paper does; register
what was learned in MLflow."""

from pathlib import Path

from pipeline import autos_fit
from pipeline.autos import AutoS
from pipeline.compute import Compute
from pipeline.executor import run
from pipeline.files import write_json
from pipeline.predictor import Predictor
from pipeline.predictor_training import PredictorConfig, unit
from stages._registry import register
from stages._stage import Stage

SURVIVAL = Path("data/survival.zarr")
OUT = Path("data/predictor")
REPORT = Path("data/predictor_report.json")


def main() -> None:
    config, compute = PredictorConfig.load("train_predictor"), Compute.load("compute")
    with Stage("train_predictor", config) as stage:
        training = unit(config, SURVIVAL, compute.hardware)
        fitting = autos_fit.unit(config, SURVIVAL)
        work = run([[training], [fitting]], workers=compute.workers)
        for _ in stage.progress(work, total=2):
            pass
        autos = AutoS(fitting.result().about["about"])
        autos.save(OUT)
        result = training.result()
        Predictor.from_state(result.tensors, result.about["about"]).save(OUT)
        report = result.about["report"]
        write_json(REPORT, report)
        coefficients = {f"coefficient.{name}": b for name, b in autos.coefficients.items()}
        stage.run.log(metrics=metrics(report) | coefficients)
        stage.run.log_artifact(REPORT)
        register(stage, OUT)


def metrics(report: dict) -> dict:
    """Curves per epoch; per source, rank correlation, and overlap by density in per mille."""
    found = {key: list(enumerate(report[key], start=1)) for key in ("train_mse", "validation_mse")}
    for name, network in report["networks"].items():
        found[f"mse.{name}"] = network["mse"]
        steps = [round(1000 * density) for density in network["densities"]]
        for criterion, overlap in network["overlap"].items():
            found[f"spearman.{criterion}.{name}"] = network["spearman"][criterion]
            found[f"overlap.{criterion}.{name}"] = list(zip(steps, overlap, strict=True))
    return found
