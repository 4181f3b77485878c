"""DVC stage `prune`: a mask for every target, method, density and seed, and checks of it."""

import sys
from pathlib import Path

from autos.compute import Compute
from autos.grid.cell import Cell, MaskRow, MaskTable, Seconds
from autos.grid.finetune import STATE, FinetuneConfig
from autos.grid.mask_result import found_in
from autos.grid.masks import Inputs, PruneConfig
from autos.storage.files import file_digest
from autos.storage.tensors import write_tensors
from autos.work.executor import run
from autos.work.units import Unit
from stages._params import section
from stages._stage import SECONDS, Stage
from stages._tracking import flatten

IMAGES = Path("data/images")
PREDICTOR = Path("data/predictor")
OUT = Path("data/masks")

LOGGED = {"settings", "include", "exclude", "density", "seed", "scoring", "recipe", "hardware"}
"""Settings of a unit that are logged beside those of its network."""


def chains(config: PruneConfig, compute: Compute) -> list[list[Unit]]:
    """Return a chain of units per mask: the mask itself, and then the checks of it."""
    recipe = section(FinetuneConfig, "finetune").recipe
    return config.chains(Inputs(IMAGES, PREDICTOR, recipe, compute.hardware))


def units() -> list[Unit]:
    """Return all units that the current parameters name."""
    named = chains(section(PruneConfig, "prune"), section(Compute, "compute"))
    return [unit for chain in named for unit in chain]


def main() -> None:
    """Run the stage: find all masks, and write them with masks.json."""
    config, compute = section(PruneConfig, "prune"), section(Compute, "compute")
    work = chains(config, compute)
    units = [unit for chain in work for unit in chain]
    with Stage("prune", config) as stage:
        done = run(work, workers=compute.workers)
        for unit in stage.progress(done, total=len(units)):
            log(stage, unit)
        rows = [store(unit, config) for unit in units]
        targets = {
            name: target.network.model_dump(mode="json") for name, target in config.targets.items()
        }
        MaskTable(targets=targets, masks=rows).save(OUT / "masks.json")
        times = Seconds(units={unit.name: seconds(unit) for unit in units})
        times.save(SECONDS / "prune.json")
    for row in rows:
        if row.empty_layers:
            empty = ", ".join(row.empty_layers)
            print(f"warning: {row.file}: nothing is kept in {empty}", file=sys.stderr)
    for target, share in {row.target: row.coverage for row in rows if row.coverage}.items():
        covered = f"{100 * share:.1f} % of the network's weights"
        print(f"warning: masks of {target} cover {covered}", file=sys.stderr)


def store(unit: Unit, config: PruneConfig) -> MaskRow:
    """Write the mask of a cell into the output, and return its row of masks.json.

    The weights to train from are written beside it, if the method left any.
    """
    result, cell = unit.result(), Cell.of_unit(unit.name)
    found = found_in(result)
    facts = {name: value for name, value in result.about.items() if name != "seconds"}
    about = {"settings": unit.settings.model_dump(mode="json"), **facts}
    path, start = OUT / cell.path(), None
    found.mask.save(path, about)
    if found.start:
        start = OUT / cell.path("start")
        write_tensors(start, found.start, kind=STATE, version=1, about=about)
    return MaskRow(
        **cell.model_dump(),
        kind=config.kind(cell.method),
        file=str(cell.path()),
        sha256=file_digest(path),
        start=str(cell.path("start")) if start else None,
        start_sha256=file_digest(start) if start else None,
        **{"cost": None, **facts},
    )


def seconds(unit: Unit) -> float:
    """Return the time in seconds that finding the mask took; it is 0 for checks of a mask."""
    return unit.result().about.get("seconds", 0.0)


def log(stage: Stage, unit: Unit) -> None:
    """Log a cell as an MLflow run of its own."""
    cell, about = Cell.of_unit(unit.name), unit.result().about
    settings = unit.settings.model_dump(mode="json")
    stage.log_cell(
        unit.path,
        unit.name,
        params={
            **flatten(settings["network"]),
            **flatten({name: settings[name] for name in settings if name in LOGGED}),
            **cell.model_dump(),
        },
        metrics={
            "kept": about["kept"],
            "total": about["total"],
            "empty_layers": len(about["empty_layers"]),
            **{f"layer_density.{name}": d for name, d in about["layer_densities"].items()},
            **{f"cost.{name}": value for name, value in about.get("cost", {}).items()},
        },
        seconds=seconds(unit),
    )
