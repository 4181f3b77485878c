"""The trained predictors that prune, by the name that a table gives them.

Both are read from one folder; it holds what the stage `train_predictor` has made.
"""

from pipeline.autos import AutoS
from pipeline.predictor import Predictor

PREDICTORS: dict[str, type[AutoS] | type[Predictor]] = {"autos": AutoS, "autos_paper": Predictor}
