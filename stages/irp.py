"""DVC stage `irp`: iterative rewind pruning of the source networks; every weight's survival."""

from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from pipeline.compute import Compute
from pipeline.config import Config, Name
from pipeline.executor import run
from pipeline.image_store import find_store
from pipeline.irp import SourceConfig, units
from pipeline.survival import Survival, write_survival
from pipeline.units import Unit
from stages._stage import Stage
from stages._tracking import flatten

IMAGES = Path("data/images")
OUT = Path("data/survival.zarr")


class IRPConfig(Config):
    """Section `irp`."""

    sources: dict[Name, SourceConfig] = Field(min_length=1)


def main() -> None:
    config, compute = IRPConfig.load("irp"), Compute.load("compute")
    chains = {
        name: units(name, source, find_store(IMAGES, source.images), compute.hardware)
        for name, source in config.sources.items()
    }
    with Stage("irp", config) as stage:
        work = run(list(chains.values()), workers=compute.workers)
        for _ in stage.progress(work, total=sum(map(len, chains.values()))):
            pass
        networks = {}
        for name, chain in chains.items():
            networks[name] = network = assemble(config.sources[name], chain)
            stage.log_cell(
                chain[-1].path,
                name,
                params=flatten(config.sources[name]),
                metrics=curves(network.about["rounds"]),
            )
        write_survival(OUT, networks)


def assemble(source: SourceConfig, chain: list[Unit]) -> Survival:
    """Join the results of one source's units."""
    initial, *rounds = (unit.result() for unit in chain)
    names = [name.removeprefix("weight/") for name in initial.tensors if name.startswith("weight/")]
    shapes = [list(initial.tensors[f"weight/{name}"].shape) for name in names]
    offsets = np.cumsum([0] + [int(np.prod(shape)) for shape in shapes])

    def joined(prefix: str) -> np.ndarray:
        return torch.cat([initial.tensors[prefix + name].flatten() for name in names]).numpy()

    masks = [torch.cat([result.tensors[name].flatten() for name in names]) for result in rounds]
    survival = torch.stack(masks).sum(dim=0)
    about = {
        "source": source.model_dump(mode="json"),
        "layers": [
            {"name": name, "offset": int(offset), "shape": shape}
            for name, offset, shape in zip(names, offsets, shapes, strict=False)
        ],
        "densities": source.densities,
        "rounds": [result.about for result in rounds],
    }
    features = [initial.tensors[f"features/{name}"].flatten(1) for name in names]
    return Survival(
        weight=joined("weight/"),
        gradient=joined("gradient/"),
        features=torch.cat(features, dim=1).T.contiguous().numpy(),
        survival=survival.numpy().astype(np.uint16),
        about=about,
    )


def curves(rounds: list[dict]) -> dict[str, list[tuple[int, float]]]:
    """Density per round; loss and accuracy per epoch, counted over all rounds."""
    losses = [loss for round_ in rounds for loss in round_["train_loss"]]
    accuracies = [value for round_ in rounds for value in round_["validation_accuracy"]]
    return {
        "density": [(i, round_["density"]) for i, round_ in enumerate(rounds, start=1)],
        "round_validation_accuracy": [
            (i, round_["validation_accuracy"][-1]) for i, round_ in enumerate(rounds, start=1)
        ],
        "train_loss": list(enumerate(losses, start=1)),
        "validation_accuracy": list(enumerate(accuracies, start=1)),
    }
