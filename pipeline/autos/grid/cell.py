"""A cell of the grid in one record: its names, its files, its rows in masks.json and results.json.

Both files are read and written here only. `MaskTable` and `ResultTable` are their schemas.
"""

from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import numpy as np

from autos.config import Config, Density, Name
from autos.errors import DamagedFileError, SettingError
from autos.storage.files import read_json, write_json

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
    seed: int
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


class _Table(Config):
    """The content of a file."""

    def save(self, path: Path) -> None:
        """Write the file, atomically."""
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file.

        Raises:
            MissingFileError: There is no such file.
            DamagedFileError: It does not have this schema.
        """
        try:
            return cls.validated(read_json(path), str(path))
        except SettingError as error:
            raise DamagedFileError(str(error)) from None


class MaskTable(_Table):
    """The content of masks.json."""

    targets: dict[Name, dict[str, Any]]
    """Settings of the networks, as in section `prune`, by the names of the targets."""
    masks: list[MaskRow]
    """All masks, in the order of the grid."""


class ResultRow(Cell):
    """An entry of results.json; accuracies are fractions."""

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


class ResultTable(_Table):
    """The content of results.json."""

    cells: list[ResultRow]
    """All trainings, those of the dense networks first."""
