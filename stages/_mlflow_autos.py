"""AutoS as MLflow serves it, from a table of features to log-odds of survival."""

from typing import Any

import mlflow
import pandas
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext

from autos.network.features import FEATURES
from autos.predictors.autos import AutoS


class ServedAutoS(PythonModel):
    """Scores weights by their features.

    The input has one row per weight, with the columns that `autos.network.features.feature_table`
    makes of a network and batches. The output has the column "score", the log-odds of survival up
    to a constant. A network is pruned in rounds, with another table in each, as `autos.prune` does
    with what `AutoS.load` returns.
    """

    def load_context(self, context: PythonModelContext) -> None:
        self.predictor = AutoS.load(context.artifacts["predictor"])

    def predict(
        self, context: PythonModelContext, model_input: pandas.DataFrame, params: Any = None
    ) -> pandas.DataFrame:
        values = torch.tensor(model_input[list(FEATURES)].to_numpy("float32").T)
        return pandas.DataFrame({"score": self.predictor.log_odds(values).numpy()})


mlflow.models.set_model(ServedAutoS())
