"""What a file of this project is and holds, as plain values that JSON can hold too."""

from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.masks import Mask
from pipeline.predictors import PREDICTORS
from pipeline.survival import Survival, read_survival

Facts = dict[str, Any]

MASK, TRAINED, SURVIVAL = "mask", "predictors", "surviving scores"
"""Values of "kind"."""

MASK_SUFFIX = ".safetensors"
PREDICTOR_FILES = ("autos.json", "predictor.json", "predictor.safetensors")


def inspect(path: Path) -> Facts:
    """Facts about a mask, predictors (their folder or a file in it) or a surviving-score store.

    Raises:
        UserError: it is none of these, or damaged.
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
    layers = [
        _layer(name, list(keep.shape), keep.numel(), int(keep.sum()))
        for name, keep in mask.keep.items()
    ]
    return {
        "kind": MASK,
        "noise": "noise" in about.get("data", ()),
        **_totals(layers),
        "empty_layers": [layer["name"] for layer in layers if not layer["kept"]],
        "layers": layers,
        "about": about,
    }


def predictor_facts(folder: Path) -> Facts:
    """All that are trained together have learned from the same sources."""
    about: Facts = {}
    for name, kind in PREDICTORS.items():
        told = dict(kind.load(folder).about)
        sources = told.pop("sources", {})
        about[name] = {"sha256": kind.digest(folder), **told}
    return {"kind": TRAINED, "sources": sources, "about": about}


def survival_facts(networks: dict[str, Survival]) -> Facts:
    return {"kind": SURVIVAL, "networks": {n: _network(network) for n, network in networks.items()}}


def _network(network: Survival) -> Facts:
    """A weight that survived all rounds counts as kept."""
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
