"""Section `finetune`: trains every masked network, and the dense one, by the target's recipe."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from models import ARCHITECTURES
from pipeline.compute import Hardware
from pipeline.config import Config, Name
from pipeline.errors import UserError
from pipeline.flops import forward_flops
from pipeline.image_store import find_store
from pipeline.images import ImageSet
from pipeline.masks import Mask
from pipeline.networks import NetworkConfig
from pipeline.recipes import TrainConfig
from pipeline.stores import store_digest
from pipeline.tensors import read_tensors
from pipeline.units import Result, Unit

DENSE = "dense"
STATE = "weights to train from"


class FinetuneConfig(Config):
    """One training recipe per target, the same for every criterion."""

    recipes: dict[Name, TrainConfig] = Field(min_length=1)

    def units(
        self, index: Mapping[str, Any], *, masks: Path, images: Path, hardware: Hardware
    ) -> list[Unit]:
        """One unit per mask, and one per target and seed for the dense network.

        Args:
            index: content of masks.json.
            masks: folder of the masks.
            images: folder of the prepared image sets.

        Raises:
            UserError: a target has no recipe.
        """
        units = []
        for cell in [*_dense_cells(index), *index["masks"]]:
            target, network = cell["target"], NetworkConfig(**index["targets"][cell["target"]])
            store = find_store(images, network.images)
            settings = FinetuneCell(
                network=network,
                images=store,
                mask=masks / cell["file"] if cell["file"] else None,
                start=masks / cell["start"] if cell["start"] else None,
                step=cell["step"],
                trained=cell["trained"],
                seed=cell["seed"],
                recipe=self.recipe(target),
                hardware=hardware,
            )
            name = f"finetune/{target}/{cell['criterion']}/{cell['density']:g}/{cell['seed']}"
            if cell["check"]:
                name += f"/{cell['check']}"
            inputs = {
                "images": store_digest(store),
                "mask": cell["sha256"],
                "start": cell["start_sha256"] or "initialisation",
                **network.digests(),
            }
            units.append(
                Unit(name, finetune, settings, inputs, (ARCHITECTURES[network.architecture],))
            )
        return units

    def recipe(self, target: str) -> TrainConfig:
        """Raises UserError: the target has none."""
        if target not in self.recipes:
            raise UserError(
                f"params.yaml: finetune.recipes: no recipe for target {target!r} of prune"
            )
        return self.recipes[target]


class FinetuneCell(Config):
    """Settings of a unit: one training."""

    network: NetworkConfig
    images: Path
    mask: Path | None
    start: Path | None
    """Weights to train on from; None is the initialisation."""
    step: int
    """Optimizer steps of the recipe that they have behind them."""
    trained: bool
    """There is nothing left to train."""
    seed: int
    """Of the initialisation and of the order of the images."""
    recipe: TrainConfig
    hardware: Hardware


def finetune(cell: FinetuneCell) -> Result:
    """The trained network's state, described by its history, cost and test accuracies."""
    from pipeline.training import History, accuracy, fit  # Lightning takes seconds to import

    images = ImageSet.load(cell.images)
    model = cell.network.build(images, seed=cell.seed)
    mask = Mask.load(cell.mask)[0] if cell.mask else Mask.dense(model)
    if cell.start:
        model.load_state_dict(read_tensors(cell.start, kind=STATE, version=1)[0])
    mask.apply_(model)
    before = accuracy(model, images, images.test)
    image = images.normalize(images.test.images[:1])
    flops, dense_flops = forward_flops(model, image, mask)
    start = time.perf_counter()
    if cell.trained:
        history = History([], [accuracy(model, images, images.validation)])
    else:
        history = fit(
            model,
            images,
            cell.recipe,
            seed=cell.seed,
            mask=mask,
            first_step=cell.step,
            hardware=cell.hardware,
        )
    about = {
        "kept": mask.kept,
        "total": mask.total,
        "flops": flops,
        "dense_flops": dense_flops,
        **asdict(history),
        "test_accuracy_before": before,
        "test_accuracy": accuracy(model, images, images.test),
        "seconds": time.perf_counter() - start,
    }
    return Result(model.state_dict(), about)


def _dense_cells(index: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = dict.fromkeys((mask["target"], mask["seed"]) for mask in index["masks"])
    return [
        {
            "target": target,
            "criterion": DENSE,
            "check": None,
            "density": 1.0,
            "seed": seed,
            "file": None,
            "sha256": DENSE,
            "start": None,
            "start_sha256": None,
            "step": 0,
            "trained": False,
        }
        for target, seed in pairs
    ]
