"""DVC stage `irp`: the survival of every weight of the sources, by iterative rewind pruning."""

from pathlib import Path
from typing import Any

from pydantic import Field

from autos.compute import Compute
from autos.config import Config, Name
from autos.images.store import find_store
from autos.irp.config import SourceConfig
from autos.irp.survival import write_survival
from autos.irp.work import SourceWork
from autos.work.executor import run
from autos.work.units import Unit
from stages._params import section
from stages._stage import Stage
from stages._tracking import Curve, flatten

IMAGES = Path("data/images")
OUT = Path("data/survival.zarr")


class IRPConfig(Config):
    """Section `irp` of params.yaml."""

    sources: dict[Name, SourceConfig] = Field(min_length=1)
    """Networks on which IRP is run, by a name of one's own."""


def work(config: IRPConfig, compute: Compute) -> dict[str, SourceWork]:
    """Return the work on every source, by the name of the source."""
    return {
        name: SourceWork.of(name, source, find_store(source.images, IMAGES), compute.hardware)
        for name, source in config.sources.items()
    }


def units() -> list[Unit]:
    """Return all units that the current parameters name."""
    sources = work(section(IRPConfig, "irp"), section(Compute, "compute"))
    return [unit for source in sources.values() for chain in source.chains() for unit in chain]


def main() -> None:
    """Run the stage: prune all sources, and write the survival of their weights."""
    config, compute = section(IRPConfig, "irp"), section(Compute, "compute")
    sources = work(config, compute)
    chains = [chain for source in sources.values() for chain in source.chains()]
    with Stage("irp", config) as stage:
        done = run(chains, workers=compute.workers)
        for _ in stage.progress(done, total=sum(map(len, chains))):
            pass
        networks = {}
        for name, source in sources.items():
            networks[name] = source.survival()
            stage.log_cell(
                source.rounds[-1].path,
                name,
                params=flatten(source.source),
                metrics=curves(networks[name].about["rounds"]),
            )
        write_survival(OUT, networks)


def curves(rounds: list[dict[str, Any]]) -> dict[str, Curve]:
    """Return density per round, and loss and accuracy per epoch.

    Epochs are counted over all rounds.
    """
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
