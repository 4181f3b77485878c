"""What a file of this project is and holds, as plain values that JSON can hold too."""

from pathlib import Path
from typing import Any

import torch

from autos.errors import UserError
from autos.irp.survival import Survival, read_survival
from autos.masks.mask import Mask
from autos.predictors import PREDICTORS

Facts = dict[str, Any]
"""Values that JSON can hold, by name."""

MASK, TRAINED, SURVIVAL = "mask", "predictors", "surviving scores"
"""Kinds of files, the values of "kind" among facts."""

MASK_SUFFIX = ".safetensors"
PREDICTOR_FILES = tuple(file for predictor in PREDICTORS.values() for file in predictor.files)


def inspect(path: Path) -> Facts:
    """Return facts about a mask, trained predictors, or a store of surviving scores.

    Args:
        path: Path of the mask, of the predictors' folder or a file in it, or of the store.

    Raises:
        UserError: The path leads to none of these, or the file is damaged.
    """
    if not path.exists():
        raise UserError(f"{path}: not found")
    if path.name in PREDICTOR_FILES:
        path = path.parent
    if any((path / file).exists() for file in PREDICTOR_FILES):
        return {"file": str(path), **predictor_facts(path)}
    if path.is_dir() and path.suffix == ".zarr":
        return {"file": str(path), **survival_facts(read_survival(path))}
    if path.is_file() and path.suffix == MASK_SUFFIX:
        return {"file": str(path), **mask_facts(*Mask.load(path))}
    raise UserError(
        f"{path}: is neither a mask ({MASK_SUFFIX}), nor the folder of predictors, nor a "
        "surviving-score store (.zarr)"
    )


def mask_facts(mask: Mask, about: Facts) -> Facts:
    """Return facts about a mask and its layers, with its description."""
    layers = [
        _layer(name, list(shape), mask.sizes[name], mask.bits.count(name))
        for name, shape in mask.shapes.items()
    ]
    data = about.get("data")  # A mask that was saved in Python may say anything here.
    return {
        "kind": MASK,
        "noise": isinstance(data, dict) and "noise" in data,
        **_totals(layers),
        "empty_layers": mask.empty_layers(),
        "layers": layers,
        "about": about,
    }


def predictor_facts(folder: Path) -> Facts:
    """Return facts about the predictors in a folder, which have learned from the same sources."""
    about: Facts = {}
    for name, predictor in PREDICTORS.items():
        if any((folder / file).exists() for file in predictor.files):
            told = dict(predictor.load(folder).about)
            sources = told.pop("sources", {})
            about[name] = {"sha256": predictor.digest(folder), **told}
    return {"kind": TRAINED, "sources": sources, "about": about}


def survival_facts(networks: dict[str, Survival]) -> Facts:
    """Return facts about every network in a store of surviving scores."""
    return {"kind": SURVIVAL, "networks": {n: _network(network) for n, network in networks.items()}}


def _network(network: Survival) -> Facts:
    """Return facts about a network; a weight that survived all rounds counts as kept."""
    kept = torch.from_numpy(network.survival == network.rounds)
    layers = []
    for layer in network.about["layers"]:
        size = torch.Size(layer["shape"]).numel()
        survivors = int(kept[layer["offset"] : layer["offset"] + size].sum())
        layers.append(_layer(layer["name"], layer["shape"], size, survivors))
    return {
        "rounds": network.rounds,
        **_totals(layers),
        "layers": layers,
        "about": network.about["source"],
    }


def _layer(name: str, shape: list[int], weights: int, kept: int) -> Facts:
    density = kept / weights if weights else 0.0
    return {"name": name, "shape": shape, "weights": weights, "kept": kept, "density": density}


def _totals(layers: list[Facts]) -> Facts:
    weights, kept = (sum(layer[key] for layer in layers) for key in ("weights", "kept"))
    return {"weights": weights, "kept": kept, "density": kept / weights if weights else 0.0}
