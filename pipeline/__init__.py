"""AutoS as a library: iterative rewind pruning, criteria, the predictor, sparse training.

What most users need is here: `prune` and `find`, `AutoS`, `METHODS`, `Mask`, `TrainConfig` and
`UserError`; `Predictor` is the paper's.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.autos import AutoS
    from pipeline.errors import UserError
    from pipeline.masks import Mask
    from pipeline.methods import METHODS
    from pipeline.predictor import Predictor
    from pipeline.pruning import find, prune
    from pipeline.recipes import TrainConfig

__all__ = ["METHODS", "AutoS", "Mask", "Predictor", "TrainConfig", "UserError", "find", "prune"]

HOMES = {
    "AutoS": "autos",
    "METHODS": "methods",
    "Mask": "masks",
    "Predictor": "predictor",
    "TrainConfig": "recipes",
    "UserError": "errors",
    "find": "pruning",
    "prune": "pruning",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, and `prepare` and `evaluate` do without it.
    if name not in HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pipeline.{HOMES[name]}"), name)
