"""DVC stage `prune`: a mask for every target, criterion, density and seed."""

import sys
from pathlib import Path
from typing import Any

from pipeline.compute import Compute
from pipeline.executor import run
from pipeline.files import file_digest, write_json
from pipeline.mask_cells import MaskCell
from pipeline.mask_grid import PruneConfig
from pipeline.masks import Mask
from pipeline.units import Unit
from stages._stage import Stage
from stages._tracking import flatten

IMAGES = Path("data/images")
PREDICTOR = Path("data/predictor")
OUT = Path("data/masks")

LOGGED = {"criterion", "density", "seed", "scoring", "hardware"}


def main() -> None:
    config, compute = PruneConfig.load("prune"), Compute.load("compute")
    units = config.units(images=IMAGES, predictor=PREDICTOR, hardware=compute.hardware)
    with Stage("prune", config) as stage:
        work = run([[unit] for unit in units], workers=compute.workers)
        for unit in stage.progress(work, total=len(units)):
            log(stage, unit)
        masks = [store(unit) for unit in units]
        index = {
            "targets": {name: net.model_dump(mode="json") for name, net in config.targets.items()},
            "masks": masks,
        }
        write_json(OUT / "masks.json", index)
    for mask in masks:
        if mask["empty_layers"]:
            print(f"warning: {mask['file']}: nothing is kept in {', '.join(mask['empty_layers'])}",
                  file=sys.stderr)  # fmt: skip


def store(unit: Unit[MaskCell]) -> dict[str, Any]:
    """Write a cell's mask into the output; return its entry in masks.json."""
    result = unit.result()
    _, target, criterion, density, seed = unit.name.split("/")
    path = OUT / target / criterion / f"{density}-{seed}.safetensors"
    about = {"settings": unit.settings.model_dump(mode="json"), **result.about}
    Mask(result.tensors).save(path, about)
    return {
        "target": target,
        "criterion": criterion,
        "density": float(density),
        "seed": int(seed),
        "file": str(path.relative_to(OUT)),
        "sha256": file_digest(path),
        **result.about,
    }


def log(stage: Stage, unit: Unit[MaskCell]) -> None:
    _, target, *_ = unit.name.split("/")
    about = unit.result().about
    stage.log_cell(
        unit.path,
        unit.name,
        params={
            "target": target,
            **flatten(unit.settings.network),
            **flatten(unit.settings.model_dump(mode="json", include=LOGGED)),
        },
        metrics={
            "kept": about["kept"],
            "total": about["total"],
            "empty_layers": len(about["empty_layers"]),
            **{f"layer_density.{name}": d for name, d in about["layer_densities"].items()},
        },
    )
