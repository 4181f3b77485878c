"""The folder of a predictor that MLflow's model registry holds; no other module knows MLflow."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from autos.errors import UserError, brief, extra

SQLITE = "sqlite:///"
"""Beginning of the address of a store in a file, before its path."""

QUIET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Environment of a download, beside the address of the store, unless the user has set these
variables."""


def local_store(folder: Path, name: str = "mlflow.db") -> str:
    """Return the address of an MLflow store in a file.

    Args:
        folder: Folder of the file.
        name: Name of the file.

    Raises:
        UserError: There is no address for a file in that folder.
    """
    # What follows a "?" would be read as options, and "%" and two digits as another character.
    # A path from the current folder seldom has either.
    for path in (folder.resolve(), Path(os.path.relpath(folder))):
        if not set("?%") & set(str(path)):
            return f"{SQLITE}{path / name}"
    raise UserError(
        f"{folder}: MLflow takes no database in a folder with ? or % in its path; work in that "
        "folder, or set MLFLOW_TRACKING_URI"
    )


def located(place: Path | str) -> Path:
    """Return the folder itself, or the one behind "models:/NAME@ALIAS" and the like.

    Raises:
        UserError: MLflow is not installed or not reached, or holds no such model.
    """
    return download(str(place)) if str(place).startswith("models:") else Path(place)


def download(uri: str) -> Path:
    """Fetch the folder of the predictor behind "models:/autos@champion" or the like.

    The store is the one that MLFLOW_TRACKING_URI names, else `mlflow.db` in the current folder.

    Raises:
        UserError: MLflow is not installed or not reached, or holds no such model.
    """
    with extra("pipeline"), _environment(MLFLOW_TRACKING_URI=local_store(Path()), **QUIET):
        import mlflow  # It takes seconds to import.

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
            raise UserError(f"{uri} in the MLflow store {store}: {brief(error, 300)}") from None


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set those of the variables that are not set, and unset them at the end."""
    missing = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            del os.environ[name]
