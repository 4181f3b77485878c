"""DVC stage `finetune`: train every masked network and the dense one by the target's recipe."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from autos.compute import Compute
from autos.grid.cell import DENSE, Cell, MaskTable, ResultRow, ResultTable, Seconds
from autos.grid.finetune import FinetuneConfig, FinetuneSettings
from autos.storage.tensors import write_tensors
from autos.work.executor import run
from autos.work.units import Unit
from stages._params import section
from stages._stage import SECONDS, Stage
from stages._tracking import Curve, flatten

IMAGES = Path("data/images")
MASKS = Path("data/masks")
OUT = Path("data/finetuned")

LOGGED = {"recipe", "hardware"}
"""Settings of a unit that are logged beside those of its network."""


def units() -> list[Unit[FinetuneSettings]]:
    """Return all units that the current parameters name."""
    return section(FinetuneConfig, "finetune").units(
        MaskTable.load(MASKS / "masks.json"),
        masks=MASKS,
        images=IMAGES,
        hardware=section(Compute, "compute").hardware,
    )


def main() -> None:
    """Run the stage: train all networks, and write them with results.json."""
    config, compute = section(FinetuneConfig, "finetune"), section(Compute, "compute")
    work = units()
    kinds = {row.method: row.kind for row in MaskTable.load(MASKS / "masks.json").masks}
    with Stage("finetune", config) as stage:
        done = run([[unit] for unit in work], workers=compute.workers)
        for unit in stage.progress(done, total=len(work)):
            log(stage, unit)
        rows = [store(unit, kinds) for unit in work]
        ResultTable(cells=rows).save(OUT / "results.json")
        times = Seconds(units={unit.name: unit.result().about["seconds"] for unit in work})
        times.save(SECONDS / "finetune.json")
        stage.run.log(metrics=accuracy_by_density(rows))


def store(unit: Unit[FinetuneSettings], kinds: Mapping[str, str]) -> ResultRow:
    """Write the trained network of a cell into the output, and return its row of results.json."""
    result, cell = unit.result(), Cell.of_unit(unit.name)
    facts = {name: value for name, value in result.about.items() if name != "seconds"}
    row = ResultRow(**cell.model_dump(), kind=kinds.get(cell.method, DENSE), **facts)
    settings = unit.settings.model_dump(mode="json")
    about = {**row.model_dump(mode="json"), "settings": settings}
    path = OUT / cell.path()
    write_tensors(path, result.tensors, kind="trained network", version=1, about=about)
    return row


def log(stage: Stage, unit: Unit[FinetuneSettings]) -> None:
    """Log a cell as an MLflow run of its own."""
    about = dict(unit.result().about)
    curves = {
        name: list(enumerate(about.pop(name), start=1))
        for name in ("train_loss", "validation_accuracy")
    }
    stage.log_cell(
        unit.path,
        unit.name,
        params={
            **flatten(unit.settings.network),
            **flatten(unit.settings.model_dump(mode="json", include=LOGGED)),
            **Cell.of_unit(unit.name).model_dump(),
        },
        metrics={**about, **curves},
        seconds=about["seconds"],
    )


def accuracy_by_density(rows: Sequence[ResultRow]) -> dict[str, Curve]:
    """Return curves of test accuracy over density, by target and method.

    Accuracies are means over seeds, and the step of each is the density in per mille.
    """
    seeds = defaultdict(list)
    for row in rows:
        parts = ["test_accuracy", row.target, row.method, *filter(None, [row.check])]
        seeds[".".join(parts), round(1000 * row.density)].append(row.test_accuracy)
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for (name, step), values in sorted(seeds.items()):
        curves[name].append((step, mean(values)))
    return dict(curves)
