"""The paper's predictor as MLflow serves it, from a table of weights and gradients to scores."""

from typing import Any, get_args

import mlflow
import numpy
import pandas
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext

from autos.predictors.paper import PaperPredictor
from autos.storage.predictor_files import Input


class ServedPaper(PythonModel):
    """Scores the weights of one network.

    The input has one row per prunable weight of a whole network, with the columns "weight" and
    "gradient" (of the mean loss), and "layer", any name of the weight's layer; without it all
    rows are taken for one layer. Inputs are scaled over layers and over the table, so rows of
    several networks do not belong in one table. The output has the column "score".
    """

    def load_context(self, context: PythonModelContext) -> None:
        self.predictor = PaperPredictor.load(context.artifacts["predictor"])

    def predict(
        self, context: PythonModelContext, model_input: pandas.DataFrame, params: Any = None
    ) -> pandas.DataFrame:
        layer = model_input.get("layer", pandas.Series("", index=model_input.index))
        together = model_input.groupby(layer.to_numpy(), sort=False, dropna=False).ngroup()
        order = together.to_numpy().argsort(kind="stable")
        values: dict[Input, torch.Tensor] = {
            name: torch.from_numpy(model_input[name].to_numpy("float32")[order])
            for name in get_args(Input)
            if name in model_input
        }
        scores = numpy.empty(len(order), "float32")
        scores[order] = self.predictor.predict(values, numpy.bincount(together).tolist()).numpy()
        return pandas.DataFrame({"score": scores})


mlflow.models.set_model(ServedPaper())
