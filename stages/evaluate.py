"""DVC stage `evaluate`: metrics, tables and plots from what the other stages measured."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from autos.config import Config
from autos.grid.cell import MaskTable, ResultTable
from autos.report import plots
from autos.report.results import Results, metrics
from autos.report.tables import markdown
from autos.storage.files import write_json
from autos.storage.predictor_files import AutosFile, PaperFile, PaperReport
from stages._params import section
from stages._stage import Stage
from stages._tracking import flatten

RESULTS = Path("data/finetuned/results.json")
MASKS = Path("data/masks/masks.json")
PREDICTOR = Path("data/predictor")
OUT = Path("data/report")


class EvaluateConfig(Config):
    """Section `evaluate` of params.yaml."""

    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Confidence of the intervals of AutoS's difference to the best hand-made score."""


def main() -> None:
    """Run the stage: write the report, and log it to MLflow."""
    config = section(EvaluateConfig, "evaluate")
    cells = ResultTable.load(RESULTS).cells
    results, masks = Results(cells), MaskTable.load(MASKS).masks
    coefficients = AutosFile.load(PREDICTOR / "autos.json").coefficients
    inputs = PaperFile.load(PREDICTOR / "autos_paper.json").inputs
    paper = PaperReport.load(PREDICTOR / "autos_paper_report.json").model_dump()
    with Stage("evaluate", config) as stage:
        figures = {
            "accuracy": plots.accuracy(results),
            "layer_densities": plots.layer_densities(masks),
            "paper_map": plots.paper_map(paper, inputs),
            "survival": plots.survival(paper),
        }
        OUT.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            figure.savefig(OUT / f"{name}.png", dpi=110, metadata={"Software": None})
        figures_by_name = metrics(results, config.confidence)
        write_json(OUT / "metrics.json", figures_by_name)
        text = markdown(results, masks, coefficients, paper, config.confidence)
        (OUT / "report.md").write_text(text)
        columns = ("target", "method", "density", "seed", "test_accuracy", "flops")
        _write_csv(OUT / "accuracy.csv", columns, [cell.model_dump() for cell in cells])
        epochs = zip(paper["train_mse"], paper["validation_mse"], strict=True)
        rows = [
            {"epoch": epoch, "train_mse": train, "validation_mse": validation}
            for epoch, (train, validation) in enumerate(epochs, start=1)
        ]
        _write_csv(OUT / "paper_training.csv", tuple(rows[0]), rows)
        numbers = flatten(figures_by_name).items()
        stage.run.log(metrics={name: v for name, v in numbers if isinstance(v, float)})
        for path in sorted(OUT.iterdir()):
            stage.run.log_artifact(path, "report")
        stage.link_stages()


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
