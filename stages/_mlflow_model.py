"""The predictor as MLflow loads and serves it: a table of weights and gradients to scores."""

from typing import Any

import mlflow
import pandas
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext

from pipeline.predictor import Predictor


class AutoS(PythonModel):
    """Scores the weights of one network.

    Input: one row per prunable weight of a whole network, with the columns "weight" and
    "gradient" (of the mean loss) that the predictor was trained on. Inputs are scaled over the
    table, so rows of several networks do not belong in one table. Output: column "score".
    """

    def load_context(self, context: PythonModelContext) -> None:
        self.predictor = Predictor.load(context.artifacts["predictor"])

    def predict(
        self, context: PythonModelContext, model_input: pandas.DataFrame, params: Any = None
    ) -> pandas.DataFrame:
        values = {
            name: torch.from_numpy(model_input[name].to_numpy("float32").copy())
            for name in self.predictor.inputs
        }
        return pandas.DataFrame({"score": self.predictor.predict(values).numpy()})


mlflow.models.set_model(AutoS())
