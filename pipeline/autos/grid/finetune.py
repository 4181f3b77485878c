"""Training of every masked network, and of the dense one, by the recipe of the target."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import Field

from autos.compute import Hardware
from autos.config import Config, Name
from autos.errors import SettingError
from autos.grid.cell import DENSE, Cell, MaskRow, MaskTable
from autos.images.image_set import ImageSet
from autos.images.store import find_store
from autos.masks.flops import forward_flops
from autos.masks.mask import Mask
from autos.network.spec import NetworkConfig
from autos.storage.tensors import read_tensors
from autos.storage.zarr_store import store_digest
from autos.training.recipe import TrainConfig
from autos.work.units import Result, Unit

STATE = "weights to train from"
"""Kind of the files from which a training may start."""


class FinetuneConfig(Config):
    """Settings of the trainings: a recipe per target, which is the same for every method."""

    recipes: dict[Name, TrainConfig] = Field(min_length=1)
    """Recipes by the name of the target."""

    def units(
        self, table: MaskTable, *, masks: Path, images: Path, hardware: Hardware
    ) -> "list[Unit[FinetuneSettings]]":
        """Return one unit per mask, and one per target and seed for the dense network.

        Args:
            table: Content of masks.json.
            masks: Folder of the masks.
            images: Folder of the prepared image sets.
            hardware: Hardware to train on.

        Raises:
            SettingError: A target has no recipe, or no image set.
        """
        dense = [self._unit(cell, None, table, masks, images, hardware) for cell in _dense(table)]
        return dense + [self._unit(row, row, table, masks, images, hardware) for row in table.masks]

    def _unit(
        self,
        cell: Cell,
        row: MaskRow | None,
        table: MaskTable,
        masks: Path,
        images: Path,
        hardware: Hardware,
    ) -> "Unit[FinetuneSettings]":
        network = NetworkConfig.validated(table.targets[cell.target], f"target {cell.target}")
        store = find_store(network.images, images)
        settings = FinetuneSettings(
            network=network,
            images=store,
            mask=masks / row.file if row else None,
            start=masks / row.start if row and row.start else None,
            step=row.step if row else 0,
            trained=row.trained if row else False,
            seed=cell.seed,
            recipe=self.recipe(cell.target),
            hardware=hardware,
        )
        inputs = {
            "images": store_digest(store),
            "mask": row.sha256 if row else DENSE,
            "start": (row and row.start_sha256) or "initialisation",
            **network.digests(),
        }
        return Unit(cell.unit("finetune"), finetune, settings, inputs)

    def recipe(self, target: str) -> TrainConfig:
        """Return the recipe of a target.

        Raises:
            SettingError: The target has no recipe.
        """
        if target not in self.recipes:
            raise SettingError(f"finetune.recipes: no recipe for target {target!r} of prune")
        return self.recipes[target]


class FinetuneSettings(Config):
    """Settings of a unit that trains one network."""

    network: NetworkConfig
    images: Path
    """Store of the image set."""
    mask: Path | None
    """File of the mask; None is the dense network."""
    start: Path | None
    """File of the weights to train on from; None is the initialisation."""
    step: int
    """Number of optimizer steps of the recipe that these weights have behind them."""
    trained: bool
    """Whether there is nothing left to train."""
    seed: int
    """Seed of the initialisation and of the order of the images."""
    recipe: TrainConfig
    hardware: Hardware


def finetune(settings: FinetuneSettings) -> Result:
    """Train the network, and return its state with its history, operations and accuracies."""
    # Lightning takes seconds to import.
    from autos.training.loop import History, accuracy, fit

    images = ImageSet.load(settings.images)
    model = settings.network.build(images, seed=settings.seed)
    mask = Mask.load(settings.mask)[0] if settings.mask else Mask.dense(model)
    if settings.start:
        model.load_state_dict(read_tensors(settings.start, kind=STATE, version=1)[0])
    mask.apply_(model)
    before = accuracy(model, images, images.test)
    image = images.normalize(images.test.images[:1])
    flops, dense_flops = forward_flops(model, image, mask)
    start = time.perf_counter()
    if settings.trained:
        history = History([], [accuracy(model, images, images.validation)])
    else:
        history = fit(
            model,
            images,
            settings.recipe,
            seed=settings.seed,
            mask=mask,
            first_step=settings.step,
            hardware=settings.hardware,
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


def _dense(table: MaskTable) -> Sequence[Cell]:
    """Return a cell for the dense network of every target and seed."""
    pairs = dict.fromkeys((row.target, row.seed) for row in table.masks)
    return [Cell(target=target, method=DENSE, density=1.0, seed=seed) for target, seed in pairs]
