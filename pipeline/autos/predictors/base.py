"""What a trained predictor is: it foresees how long weights survive, and so is a criterion."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.schedules import exponential
from autos.network.batches import Batches, Loss, cross_entropy

SHIPPED = Path(__file__).with_name("shipped")
"""Folder of the predictors that come with the package; `make shipped` trains them."""


class Predictor(ABC):
    """A trained predictor.

    Attributes:
        name: What it is called in settings, tables and on the command line.
        files: Names of its files in a folder of predictors; the first one says what it is.
        rounds: Number of rounds in which it prunes, with exponentially falling density.
        about: What it learned and from what, anything that JSON holds.
    """

    name: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    rounds: ClassVar[int]
    about: Mapping[str, Any]

    @abstractmethod
    def survival(self, model: nn.Module, batches: Batches, loss: Loss = cross_entropy) -> Scores:
        """Foresee the survival of every prunable weight of `model`; higher means longer.

        Args:
            model: The network.
            batches: What gradients are taken on, as `autos.prune` takes them.
            loss: Function of the model's output and a batch.
        """

    @property
    def criterion(self) -> Criterion[Config]:
        """The criterion that prunes by this predictor."""

        def score(model: nn.Module, context: Context[Config]) -> Scores:
            return self.survival(model, context.batches, context.loss)

        return Criterion(
            self.name, score, densities=lambda density, _: exponential(density, self.rounds)
        )

    @abstractmethod
    def save(self, folder: Path | str) -> None:
        """Write the files of the predictor into a folder."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path | str = SHIPPED) -> Self:
        """Read a predictor.

        Args:
            folder: Folder of predictors, or "models:/NAME@ALIAS" and the like from MLflow's model
                registry; without it, the predictor is the one that comes with the package.
                MLflow's store is `mlflow.db` in the current folder, where `make repro` leaves it,
                unless MLFLOW_TRACKING_URI names another one.

        Raises:
            UserError: Files are missing, damaged or of another version, or MLflow is not reached
                or holds no such model.
        """

    @classmethod
    @abstractmethod
    def digest(cls, folder: Path) -> str:
        """Return what identifies the predictor that is saved in a folder.

        Raises:
            MissingFileError: There is none.
        """
