"""A predictor that MLflow's registry holds, as a folder; the one place here that knows MLflow."""

from pathlib import Path

from pipeline.errors import UserError


def download(uri: str) -> Path:
    """Folder of the predictor behind "models:/autos@champion" or the like.

    Raises:
        UserError: MLflow is not reached, or holds no such model.
    """
    import mlflow

    try:
        return Path(mlflow.artifacts.download_artifacts(f"{uri}/artifacts/predictor"))
    except (mlflow.MlflowException, OSError) as error:
        raise UserError(f"{uri}: {' '.join(str(error).split())[:300]}") from None
