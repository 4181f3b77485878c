"""The folder of predictors that MLflow's registry holds; the one place here that knows MLflow."""

import os
from pathlib import Path
from urllib.parse import unquote

from pipeline.errors import UserError

SQLITE = "sqlite:///"


def located(place: Path | str) -> Path:
    """The folder itself, or that of "models:/NAME@ALIAS" and the like.

    Raises:
        UserError: as `download`.
    """
    return download(str(place)) if str(place).startswith("models:") else Path(place)


def download(uri: str) -> Path:
    """Folder of the predictors behind "models:/autos@champion" or the like.

    The store is the one that MLFLOW_TRACKING_URI names, else `mlflow.db` in the current folder.

    Raises:
        UserError: MLflow is not reached, or holds no such model.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    store = mlflow.get_registry_uri()
    # MLflow would make a database that is not there.
    if store.startswith(SQLITE) and not Path(unquote(store.removeprefix(SQLITE))).exists():
        raise UserError(
            f"{uri}: there is no MLflow store {store}; go to the repository's folder or set "
            "MLFLOW_TRACKING_URI"
        )
    try:
        return Path(mlflow.artifacts.download_artifacts(f"{uri}/artifacts/predictor"))
    except (mlflow.MlflowException, OSError) as error:
        text = " ".join(str(error).split())[:300]
        raise UserError(f"{uri} in the MLflow store {store}: {text}") from None
