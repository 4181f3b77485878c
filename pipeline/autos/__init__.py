"""Prune neural networks before training, with a criterion that was itself learned.

What most users need is here: `prune` and `find`, the learned criterion `AutoS`, all other methods
in `METHODS`, and `Mask`. `TrainConfig` is the recipe of methods that train, `PaperPredictor` the
predictor of the AutoS paper, and `UserError` the exception for whatever the caller can mend.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autos.errors import UserError
    from autos.masks.mask import Mask
    from autos.methods import METHODS
    from autos.predictors.autos import AutoS
    from autos.predictors.paper import PaperPredictor
    from autos.pruning import find, prune
    from autos.training.recipe import TrainConfig

__all__ = [
    "METHODS",
    "AutoS",
    "Mask",
    "PaperPredictor",
    "TrainConfig",
    "UserError",
    "find",
    "prune",
]

HOMES = {
    "AutoS": "predictors.autos",
    "METHODS": "methods",
    "Mask": "masks.mask",
    "PaperPredictor": "predictors.paper",
    "TrainConfig": "training.recipe",
    "UserError": "errors",
    "find": "pruning",
    "prune": "pruning",
}
"""Modules, within this package, that define the public names."""


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, and preparing images and reporting do without it.
    if name == "__version__":
        from importlib.metadata import version  # Only reading the version needs it.

        return version("autos")
    if name not in HOMES:
        raise AttributeError(f"module 'autos' has no attribute {name!r}")
    return getattr(importlib.import_module(f"autos.{HOMES[name]}"), name)
