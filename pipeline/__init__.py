"""AutoS as a library: iterative rewind pruning, criteria, the predictor, sparse training.

What most users need is here: `prune`, `Predictor`, `CRITERIA`, `Mask` and `UserError`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.criteria import CRITERIA
    from pipeline.errors import UserError
    from pipeline.masks import Mask
    from pipeline.predictor import Predictor
    from pipeline.pruning import prune

__all__ = ["CRITERIA", "Mask", "Predictor", "UserError", "prune"]

HOMES = {
    "CRITERIA": "criteria",
    "Mask": "masks",
    "Predictor": "predictor",
    "UserError": "errors",
    "prune": "pruning",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds, and `prepare` and `evaluate` do without it.
    if name not in HOMES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(importlib.import_module(f"pipeline.{HOMES[name]}"), name)
