"""The trained predictors as MLflow's registered model `autos`, without pickle.

MLflow serves the paper's, which scores a table of weights; ours needs the network, and is among the
files of the model.
"""

import logging
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pipeline.autos import AutoS
from pipeline.predictor import Predictor
from stages._stage import Stage

MODEL, ALIAS = "autos", "champion"
CODE = Path(__file__).with_name("_mlflow_model.py")
PACKAGES = [str(Path(__file__).parents[1] / name) for name in ("pipeline", "models")]
REQUIREMENTS = ("torch", "torchvision", "numpy", "pandas", "safetensors")


def register(stage: Stage, folder: Path) -> None:
    """Log the predictors and point the alias to them; a version that is registered is reused."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow
    import pandas
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    # It would warn that the environment, made by uv, has no pip.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    client = stage.store.client
    digests = {"sha256": Predictor.digest(folder), "autos_sha256": AutoS.digest(folder)}
    same = [f"tags.{name} = '{digest}'" for name, digest in digests.items()]
    found = client.search_model_versions(" and ".join([f"name = '{MODEL}'", *same]))
    if found:
        number = found[0].version
    else:
        # The units of a gradient depend on the weights.
        columns = ["weight", "gradient"][: 1 + ("gradient" in Predictor.load(folder).inputs)]
        rng = np.random.default_rng(0)
        example = pandas.DataFrame({n: rng.normal(size=5).astype("float32") for n in columns})
        example["layer"] = ["fc1.weight"] * 3 + ["fc2.weight"] * 2
        with mlflow.start_run(run_id=stage.run.id):
            model = mlflow.pyfunc.log_model(
                name=MODEL,
                python_model=str(CODE),
                code_paths=PACKAGES,
                artifacts={"predictor": str(folder)},
                signature=ModelSignature(
                    inputs=Schema(
                        [
                            *[ColSpec(DataType.float, name) for name in columns],
                            ColSpec(DataType.string, "layer", required=False),
                        ]
                    ),
                    outputs=Schema([ColSpec(DataType.float, "score")]),
                ),
                input_example=example,
                pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            )
        number = mlflow.register_model(model.model_uri, MODEL, tags=digests).version
    client.set_registered_model_alias(MODEL, ALIAS, number)
    stage.run.log(tags={"registered_model": f"models:/{MODEL}/{number}"})
