"""The trained predictors in MLflow's model registry, `autos` and `autos_paper`, without pickle.

MLflow and pandas take seconds to import, so they are imported inside the functions.
"""

import logging
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from autos.network.features import FEATURES
from autos.predictors.autos import AutoS
from autos.predictors.base import Predictor
from autos.predictors.paper import PaperPredictor
from stages._stage import Stage

if TYPE_CHECKING:  # They take seconds to import.
    import pandas
    from mlflow.models import ModelSignature

ALIAS = "champion"
"""Alias of the version of a registered model that the last run made."""

LIBRARY = Path(__file__).parents[1] / "pipeline/autos"
"""Folder of the library, which is logged with every predictor."""

REQUIREMENTS = ("torch", "torchvision", "numpy", "pandas", "safetensors", "pydantic", "pyyaml")
"""Distributions that the library needs to load and apply a predictor."""


def register(stage: Stage, autos: AutoS, paper: PaperPredictor) -> None:
    """Log the predictors in the model registry, and point the alias of each to its version."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # MLflow would warn that the environment, made by uv, has no pip.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    _register(stage, autos, "_mlflow_autos.py", list(FEATURES), layer=False)
    # Weights are always a column, as the units of a gradient depend on them.
    columns = ["weight", "gradient"][: 1 + ("gradient" in paper.inputs)]
    _register(stage, paper, "_mlflow_paper.py", columns, layer=True)


def _register(
    stage: Stage, predictor: Predictor, code: str, columns: Sequence[str], *, layer: bool
) -> None:
    """Make a version of the registered model, unless there is one of the same predictor.

    Args:
        stage: Stage at work.
        predictor: Predictor to register, under its own name.
        code: Name of the file in this folder that serves the predictor.
        columns: Names of the columns that are numbers.
        layer: Whether there may be a column with the name of a weight's layer.
    """
    import mlflow

    client = stage.store.client
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "predictor"  # MLflow keeps this name.
        predictor.save(folder)
        digest = predictor.digest(folder)
        same = f"name = '{predictor.name}' and tags.sha256 = '{digest}'"
        found = client.search_model_versions(same)
        if found:
            number = found[0].version
        else:
            with mlflow.start_run(run_id=stage.run.id):
                model = mlflow.pyfunc.log_model(
                    name=predictor.name,
                    python_model=str(Path(__file__).with_name(code)),
                    code_paths=[str(LIBRARY)],
                    artifacts={"predictor": str(folder)},
                    signature=_signature(columns, layer),
                    input_example=_example(columns, layer),
                    pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
                )
            tags = {"sha256": digest}
            number = mlflow.register_model(model.model_uri, predictor.name, tags=tags).version
    client.set_registered_model_alias(predictor.name, ALIAS, number)
    name = f"registered_model.{predictor.name}"
    stage.run.log(tags={name: f"models:/{predictor.name}/{number}"})


def _signature(columns: Sequence[str], layer: bool) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    numbers = [ColSpec(DataType.float, name) for name in columns]
    names = [ColSpec(DataType.string, "layer", required=False)] if layer else []
    return ModelSignature(
        inputs=Schema([*numbers, *names]), outputs=Schema([ColSpec(DataType.float, "score")])
    )


def _example(columns: Sequence[str], layer: bool) -> "pandas.DataFrame":
    import pandas

    rng = np.random.default_rng(0)
    example = pandas.DataFrame({n: rng.normal(size=5).astype("float32") for n in columns})
    if layer:
        example["layer"] = ["fc1.weight"] * 3 + ["fc2.weight"] * 2
    return example
