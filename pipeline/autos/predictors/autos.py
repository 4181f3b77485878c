"""AutoS: how likely a weight is to survive iterative pruning, told at initialisation.

The log-odds of surviving are a weighted sum of what is known of a weight at initialisation
(`autos.network.features`); the coefficients are learned from the surviving scores of source
networks (`autos.predictors.autos_fit`). A network is pruned as the sources were, in rounds, and
scored anew in each: at its initial values, but in the network that is left.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from autos.errors import DamagedFileError, unknown
from autos.masks.selection import Scores
from autos.network.batches import Batches, Loss, cross_entropy
from autos.network.features import FEATURES, Feature, features
from autos.predictors.base import SHIPPED, Predictor
from autos.storage.files import file_digest
from autos.storage.mlflow_models import located
from autos.storage.predictor_files import AutosFile

FILE = "autos.json"


class AutoS(Predictor):
    """A trained AutoS.

    Attributes:
        about: The coefficients by feature, 0 for one that is not named, and what they were learned
            from.

    Example:
        >>> import torch
        >>> from autos import AutoS, prune
        >>> network = torch.nn.Sequential(
        ...     torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 4)
        ... )
        >>> batches = [(torch.randn(32, 8), torch.randint(4, (32,)))]
        >>> mask = prune(network, AutoS.load(), batches, density=0.25)
        >>> mask.kept, mask.total
        (48, 192)
    """

    name = "autos"
    files = (FILE,)
    rounds = 30

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about

    @property
    def coefficients(self) -> Mapping[Feature, float]:
        """The coefficients by feature."""
        return self.about["coefficients"]

    def survival(self, model: nn.Module, batches: Batches, loss: Loss = cross_entropy) -> Scores:
        """Return the log-odds, up to a constant, of every weight's survival.

        A weight that is 0 counts as pruned.

        Args:
            model: The network, which is left untouched.
            batches: The gradient is taken on the first of them, see `autos.network.features`.
            loss: Function of the model's output and a batch.
        """
        return {name: self.log_odds(values) for name, values in features(model, batches, loss)}

    def log_odds(self, values: torch.Tensor) -> torch.Tensor:
        """Return the log-odds [...], up to a constant, of weights with these features [4, ...]."""
        scale = [self.coefficients.get(name, 0.0) for name in FEATURES]
        return torch.tensordot(values.new_tensor(scale), values, dims=1)

    def save(self, folder: Path | str) -> None:
        AutosFile.validated(self.about, self.name).save(Path(folder) / FILE)

    @classmethod
    def digest(cls, folder: Path) -> str:
        return file_digest(folder / FILE)

    @classmethod
    def load(cls, folder: Path | str = SHIPPED) -> Self:
        path = located(folder) / FILE
        about = AutosFile.load(path)
        for name in about.coefficients:
            if name not in FEATURES:
                raise DamagedFileError(f"{path}: {unknown('feature', name, FEATURES)}")
        return cls(about.model_dump(exclude_unset=True))
