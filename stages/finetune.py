"""DVC stage `finetune`: train every masked network and the dense one by the target's recipe."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from pipeline.compute import Compute
from pipeline.executor import run
from pipeline.files import read_json, write_json
from pipeline.finetune_cells import DENSE, FinetuneCell, FinetuneConfig
from pipeline.tensors import write_tensors
from pipeline.units import Unit
from stages._stage import Stage
from stages._tracking import Curve, flatten

IMAGES = Path("data/images")
MASKS = Path("data/masks")
OUT = Path("data/finetuned")
SECONDS = Path("data/finetune_seconds.json")

LOGGED = {"seed", "recipe", "hardware"}


def main() -> None:
    config, compute = FinetuneConfig.load("finetune"), Compute.load("compute")
    index = read_json(MASKS / "masks.json")
    units = config.units(index, masks=MASKS, images=IMAGES, hardware=compute.hardware)
    with Stage("finetune", config) as stage:
        work = run([[unit] for unit in units], workers=compute.workers)
        for unit in stage.progress(work, total=len(units)):
            log(stage, unit)
        kinds = {mask["criterion"]: mask["kind"] for mask in index["masks"]}
        cells = [store(unit, kinds) for unit in units]
        # Times differ from run to run, so they have a file of their own.
        write_json(SECONDS, {unit.name: unit.result().about["seconds"] for unit in units})
        write_json(OUT / "results.json", {"cells": cells})
        stage.run.log(metrics=accuracy_by_density(cells))


def store(unit: Unit[FinetuneCell], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Write a cell's trained network into the output; return its entry in results.json."""
    result = unit.result()
    _, target, criterion, density, seed, *check = unit.name.split("/")
    entry = {
        "target": target,
        "criterion": criterion,
        "kind": kinds.get(criterion, DENSE),
        "check": check[0] if check else None,
        "density": float(density),
        "seed": int(seed),
        **{name: value for name, value in result.about.items() if name != "seconds"},
    }
    about = {**entry, "settings": unit.settings.model_dump(mode="json")}
    path = OUT / target / criterion / f"{'-'.join([density, seed, *check])}.safetensors"
    write_tensors(path, result.tensors, kind="trained network", version=1, about=about)
    return entry


def log(stage: Stage, unit: Unit[FinetuneCell]) -> None:
    _, target, criterion, density, _, *check = unit.name.split("/")
    about = dict(unit.result().about)
    curves = {
        name: list(enumerate(about.pop(name), start=1))
        for name in ("train_loss", "validation_accuracy")
    }
    stage.log_cell(
        unit.path,
        unit.name,
        params={
            "target": target,
            "criterion": criterion,
            "check": check[0] if check else None,
            "density": float(density),
            **flatten(unit.settings.network),
            **flatten(unit.settings.model_dump(mode="json", include=LOGGED)),
        },
        metrics={**about, **curves},
        seconds=about["seconds"],
    )


def accuracy_by_density(cells: list[dict[str, Any]]) -> dict[str, Curve]:
    """Mean test accuracy over seeds per target and criterion, by density in per mille."""
    seeds = defaultdict(list)
    for cell in cells:
        name = ".".join(["test_accuracy", cell["target"], cell["criterion"]])
        if cell["check"]:
            name += f".{cell['check']}"
        seeds[name, round(1000 * cell["density"])].append(cell["test_accuracy"])
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for (name, step), values in sorted(seeds.items()):
        curves[name].append((step, mean(values)))
    return dict(curves)
