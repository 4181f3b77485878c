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

from autos.masks.selection import Scores
from autos.network.batches import Batches, Loss, cross_entropy
from autos.network.features import FEATURES, Feature, features
from autos.predictors.base import SHIPPED, Predictor
from autos.storage.files import check_kind, file_digest, read_json, write_json
from autos.storage.mlflow_models import located

KIND, VERSION = "AutoS", 1
"""What a file is; its coefficients hold for the features and the rounds of its version."""

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
        write_json(Path(folder) / FILE, {"kind": KIND, "version": VERSION, **self.about})

    @classmethod
    def digest(cls, folder: Path) -> str:
        return file_digest(folder / FILE)

    @classmethod
    def load(cls, folder: Path | str = SHIPPED) -> Self:
        path = located(folder) / FILE
        about = read_json(path)
        check_kind(path, about, kind=KIND, version=VERSION)
        return cls({k: v for k, v in about.items() if k not in ("kind", "version")})
