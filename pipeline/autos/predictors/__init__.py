"""Trained predictors of survival, and the registry that names them.

All predictors that are trained together are kept in one folder.
"""

from autos.predictors.autos import AutoS
from autos.predictors.base import Predictor
from autos.predictors.paper import PaperPredictor

PREDICTORS: dict[str, type[Predictor]] = {
    predictor.name: predictor for predictor in (AutoS, PaperPredictor)
}
"""The classes of all predictors by name."""
