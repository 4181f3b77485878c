"""A cell of the grid in one record: its names, its files, its rows in masks.json and results.json.

Both files are read and written here only. `MaskTable` and `ResultTable` are their schemas.
"""

from pathlib import PurePosixPath
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import model_validator

from autos.config import Config, Density, Name, Seed
from autos.storage.records import Record

DENSE = "dense"
"""What the rows of a dense network have in the place of a method."""

PREDICTOR = "predictor"
"""Kind of the trained predictors, beside those of `autos.methods.base.Kind`."""

Check = Literal["shuffle", "reinitialise", "random_ticket", "invert"]
"""The sanity checks of a mask, see `autos.grid.checks`."""


class Cell(Config):
    """One experiment: a target, pruned by a method to a density, with a seed."""

    target: Name
    """Name of the network and its images in section `prune`."""
    method: str
    """Name of a method, a variant of one, or a trained predictor; or `DENSE`."""
    density: Density
    """Fraction of the prunable weights that is kept, in full precision."""
    seed: Seed
    """Seed of the initialisation and of all that the method draws."""
    check: Check | None = None
    """The sanity check by which the mask is changed; None is the mask itself."""

    def unit(self, stage: str) -> str:
        """Return the name of the cell's unit of work in a stage."""
        parts = [stage, self.target, self.method, self._density, str(self.seed)]
        return "/".join([*parts, *filter(None, [self.check])])

    @classmethod
    def of_unit(cls, name: str) -> Self:
        """Return the cell whose unit has this name."""
        _, target, method, density, seed, *check = name.split("/")
        return cls.model_validate(
            {
                "target": target,
                "method": method,
                "density": float(density),
                "seed": int(seed),
                "check": check[0] if check else None,
            }
        )

    def path(self, part: str | None = None) -> PurePosixPath:
        """Return the path of the cell's file within the folder of a stage's output.

        Args:
            part: What the file holds, if the cell has several.
        """
        parts = [self._density, str(self.seed), *filter(None, [self.check, part])]
        return PurePosixPath(self.target, self.method, f"{'-'.join(parts)}.safetensors")

    @property
    def _density(self) -> str:
        """The shortest decimal number, without exponent, that is this density to the last bit."""
        return np.format_float_positional(self.density, trim="-")


class MaskCost(Config):
    """What finding a mask did cost."""

    forward: int
    """Number of samples that passed forward through the network."""
    backward: int
    """Number of samples that passed backward."""
    epochs: float
    """Backward passes in units of the training set."""
    flops: int
    """Floating-point operations, if nothing is skipped."""


class MaskRow(Cell):
    """An entry of masks.json."""

    kind: str
    """Kind of the method."""
    file: str
    """Path of the mask, from the folder of masks.json."""
    sha256: str
    """Digest of that file."""
    start: str | None
    """Path of the weights to train from; None is the initialisation."""
    start_sha256: str | None
    """Digest of that file."""
    step: int
    """Number of optimizer steps of the recipe that these weights have behind them."""
    trained: bool
    """Whether nothing is left to train."""
    kept: int
    """Number of weights that are kept."""
    total: int
    """Number of prunable weights."""
    layer_densities: dict[str, float]
    """Fraction of each layer's weights that is kept."""
    empty_layers: list[str]
    """Names of the weights of which nothing is kept."""
    coverage: float | None = None
    """Share of the network's weights that the mask covers; None is all of them."""
    cost: MaskCost | None = None
    """What finding the mask did cost; None for a check of a mask."""


class MaskTable(Record):
    """The content of masks.json."""

    KIND: ClassVar = "table of masks"
    VERSION: ClassVar = 1
    targets: dict[Name, dict[str, Any]]
    """Settings of the networks, as in section `prune`, by the names of the targets."""
    masks: list[MaskRow]
    """All masks, in the order of the grid."""

    @model_validator(mode="after")
    def _of_targets(self) -> Self:
        for row in self.masks:
            if row.target not in self.targets:
                raise ValueError(f"a mask is for {row.target!r}, which is none of the targets")
        return self


class Seconds(Record):
    """Times that cells took, which differ from run to run."""

    KIND: ClassVar = "times"
    VERSION: ClassVar = 1
    units: dict[str, float]
    """Seconds by the name of the cell's unit of work."""


class ResultRow(Cell, allow_inf_nan=True):
    """An entry of results.json; accuracies are fractions, and the loss may have diverged."""

    kind: str
    """Kind of the method, or `DENSE`."""
    kept: int
    """Number of weights that are kept."""
    total: int
    """Number of prunable weights."""
    flops: int
    """Operations of a forward pass of one image through the sparse network."""
    dense_flops: int
    """Operations of a forward pass of one image through the dense network."""
    train_loss: list[float]
    """Mean training loss in each epoch."""
    validation_accuracy: list[float]
    """Accuracy on the validation images after each epoch."""
    test_accuracy_before: float
    """Accuracy on the test images before training."""
    test_accuracy: float
    """Accuracy on the test images after the last epoch."""


class ResultTable(Record):
    """The content of results.json."""

    KIND: ClassVar = "table of trainings"
    VERSION: ClassVar = 1
    cells: list[ResultRow]
    """All trainings, those of the dense networks first."""
