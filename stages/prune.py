"""DVC stage `prune`: a mask for every target, criterion, density and seed, and checks of it."""

import sys
from pathlib import Path
from typing import Any

from pipeline.check_cells import CheckCell
from pipeline.compute import Compute
from pipeline.executor import run
from pipeline.files import file_digest, write_json
from pipeline.finetune_cells import STATE, FinetuneConfig
from pipeline.mask_cells import found_in
from pipeline.mask_grid import Inputs, PruneConfig
from pipeline.tensors import write_tensors
from pipeline.units import Unit
from stages._stage import Stage
from stages._tracking import flatten

IMAGES = Path("data/images")
PREDICTOR = Path("data/predictor")
OUT = Path("data/masks")

SECONDS = Path("data/prune_seconds.json")

LOGGED = {"criterion", "settings", "density", "seed", "scoring", "recipe", "hardware"}


def main() -> None:
    config, compute = PruneConfig.load("prune"), Compute.load("compute")
    recipe = FinetuneConfig.load("finetune").recipe
    chains = config.chains(Inputs(IMAGES, PREDICTOR, recipe, compute.hardware))
    units = [unit for chain in chains for unit in chain]
    with Stage("prune", config) as stage:
        work = run(chains, workers=compute.workers)
        for unit in stage.progress(work, total=len(units)):
            log(stage, unit)
        masks = [store(unit, config) for unit in units]
        index = {
            "targets": {name: net.model_dump(mode="json") for name, net in config.targets.items()},
            "masks": masks,
        }
        # Times differ from run to run, so they have a file of their own.
        write_json(SECONDS, {unit.name: seconds(unit) for unit in units})
        write_json(OUT / "masks.json", index)
    for mask in masks:
        if mask["empty_layers"]:
            print(f"warning: {mask['file']}: nothing is kept in {', '.join(mask['empty_layers'])}",
                  file=sys.stderr)  # fmt: skip


def store(unit: Unit, config: PruneConfig) -> dict[str, Any]:
    """Write a cell's mask, and where to start from, into the output; return its entry in
    masks.json."""
    result = unit.result()
    found = found_in(result)
    _, target, criterion, density, seed, *check = unit.name.split("/")
    facts = {name: value for name, value in result.about.items() if name != "seconds"}
    about = {"settings": unit.settings.model_dump(mode="json"), **facts}
    path = OUT / target / criterion / f"{'-'.join([density, seed, *check])}.safetensors"
    found.mask.save(path, about)
    start = None
    if found.start:
        start = path.with_name(f"{path.stem}-start.safetensors")
        write_tensors(start, found.start, kind=STATE, version=1, about=about)
    method = config.method(criterion)
    return {
        "target": target,
        "criterion": criterion,
        "kind": method.kind if method else "predictor",
        "check": check[0] if check else None,
        "density": float(density),
        "seed": int(seed),
        "file": str(path.relative_to(OUT)),
        "sha256": file_digest(path),
        "start": str(start.relative_to(OUT)) if start else None,
        "start_sha256": file_digest(start) if start else None,
        **facts,
    }


def seconds(unit: Unit) -> float:
    return unit.result().about.get("seconds", 0.0)


def log(stage: Stage, unit: Unit) -> None:
    _, target, criterion, *_ = unit.name.split("/")
    about = unit.result().about
    settings = unit.settings.model_dump(mode="json")
    stage.log_cell(
        unit.path,
        unit.name,
        params={
            "target": target,
            **flatten(settings["network"]),
            **flatten({name: settings[name] for name in settings if name in LOGGED}),
            "criterion": criterion,
            "check": unit.settings.check if isinstance(unit.settings, CheckCell) else None,
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
