"""DVC stage `evaluate`: metrics, tables and plots from what the other stages measured."""

import csv
from pathlib import Path

from pydantic import Field

from pipeline import plots
from pipeline.config import Config
from pipeline.files import read_json, write_json
from pipeline.report import Results, markdown, metrics
from stages._stage import Stage
from stages._tracking import flatten

RESULTS = Path("data/finetuned/results.json")
MASKS = Path("data/masks/masks.json")
AUTOS = Path("data/predictor/autos.json")
PREDICTOR = Path("data/predictor/predictor.json")
PREDICTOR_REPORT = Path("data/predictor_report.json")
OUT = Path("data/report")


class EvaluateConfig(Config):
    """Section `evaluate`."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of the intervals of AutoS's difference to the best hand-made criterion."""


def main() -> None:
    config = EvaluateConfig.load("evaluate")
    cells = read_json(RESULTS)["cells"]
    results, masks = Results(cells), read_json(MASKS)["masks"]
    predictor, inputs = read_json(PREDICTOR_REPORT), read_json(PREDICTOR)["inputs"]
    with Stage("evaluate", config) as stage:
        figures = {
            "accuracy": plots.accuracy(results),
            "layer_densities": plots.layer_densities(masks),
            "predictor_map": plots.predictor_map(predictor, inputs),
            "survival": plots.survival(predictor),
        }
        OUT.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            figure.savefig(OUT / f"{name}.png", dpi=110, metadata={"Software": None})
        figures_by_name = metrics(results, config.confidence)
        write_json(OUT / "metrics.json", figures_by_name)
        coefficients = read_json(AUTOS)["coefficients"]
        text = markdown(results, masks, coefficients, predictor, config.confidence)
        (OUT / "report.md").write_text(text)
        columns = ("target", "criterion", "density", "seed", "test_accuracy", "flops")
        _write_csv(OUT / "accuracy.csv", columns, cells)
        epochs = zip(predictor["train_mse"], predictor["validation_mse"], strict=True)
        rows = [
            {"epoch": epoch, "train_mse": train, "validation_mse": validation}
            for epoch, (train, validation) in enumerate(epochs, start=1)
        ]
        _write_csv(OUT / "predictor_training.csv", tuple(rows[0]), rows)
        numbers = flatten(figures_by_name).items()
        stage.run.log(metrics={name: v for name, v in numbers if isinstance(v, float)})
        for path in sorted(OUT.iterdir()):
            stage.run.log_artifact(path, "report")
        stage.link_stages()


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
