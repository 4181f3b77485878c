"""MLflow: one run per `dvc repro`, below it one per stage, below that one per cell.

MLflow takes seconds to import and is needed in the stage's own process only, so it is imported
inside the functions.
"""

import fcntl
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.files import read_json, write_json

EXPERIMENT = "autos"
Curve = Sequence[tuple[int, float]]
"""Values of a metric by step."""


def root() -> Path:
    """The repository; DVC tells it to stages that it runs in a copy (`dvc exp run --temp`)."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def flatten(config: Config | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as flat parameters: {"train.lr": 0.1, ...}."""
    content = config.model_dump(mode="json") if isinstance(config, Config) else config
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


@dataclass
class Run:
    """One MLflow run that this process writes to."""

    store: "Store"
    id: str

    def log(
        self,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float | Curve] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log in one request. A metric is a value, or a curve of (step, value) pairs."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        points = [
            Metric(name, float(value), now, step)
            for name, values in (metrics or {}).items()
            for step, value in ([(0, values)] if isinstance(values, (int, float)) else values)
        ]
        texts = [Param(name, str(value)) for name, value in (params or {}).items()]
        labels = [RunTag(name, value) for name, value in (tags or {}).items()]
        self.store.client.log_batch(self.id, points[:1000], texts[:100], labels)
        for start in range(1000, len(points), 1000):
            self.store.client.log_batch(self.id, points[start : start + 1000])
        for start in range(100, len(texts), 100):
            self.store.client.log_batch(self.id, params=texts[start : start + 100])

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        self.store.client.log_artifact(self.id, str(path), folder)

    def child(self, name: str, role: str, seconds: float = 0.0) -> "Run":
        return self.store.create(name, role=role, parent=self.id, seconds=seconds)

    def end(self, status: str = "FINISHED") -> None:
        self.store.client.set_terminated(self.id, status)


class Store:
    """The MLflow store of this repository, or the one that MLFLOW_TRACKING_URI names.

    Raises:
        UserError: the store cannot be reached or written.
    """

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root() / 'mlflow.db'}"
        import mlflow

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        mlflow.set_tracking_uri(self.uri)
        # Processes that create the database or the parent run at the same time break it.
        lock = root() / ".work" / "mlflow.lock"
        lock.parent.mkdir(exist_ok=True)
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            try:
                self.client = mlflow.MlflowClient(self.uri)
                self.experiment = self._experiment()
                self.pipeline = self._pipeline()
            except mlflow.exceptions.MlflowException as error:
                text = " ".join(str(error).split())[:300]
                raise UserError(f"MLflow store {self.uri}: {text}") from None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Tells this store from one that was deleted and made again."""
        return {
            "uri": self.uri,
            "experiment": self.experiment.experiment_id,
            "created": self.experiment.creation_time,
        }

    def create(
        self, name: str, *, role: str, parent: str | None = None, seconds: float = 0.0, **tags: str
    ) -> Run:
        """Start a run, or note one that began `seconds` ago; `role` is pipeline, stage or cell."""
        if parent:
            tags["mlflow.parentRunId"] = parent
        tags = {"role": role, "mlflow.source.name": " ".join(sys.orig_argv[-2:]), **tags}
        if commit := _commit():
            tags["mlflow.source.git.commit"] = commit
        run = self.client.create_run(
            self.experiment.experiment_id,
            run_name=name,
            tags=tags,
            start_time=int(1000 * (time.time() - seconds)),
        )
        return Run(self, run.info.run_id)

    def _experiment(self) -> Any:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            local = self.uri.startswith("sqlite")
            place = (root() / "mlartifacts").as_uri() if local else None
            experiment = self.client.get_experiment(
                self.client.create_experiment(EXPERIMENT, artifact_location=place)
            )
        return experiment

    def _pipeline(self) -> Run:
        """The parent run of this `dvc repro`, made by whichever stage comes first."""
        session = _session()
        found = self.client.search_runs(
            [self.experiment.experiment_id],
            f"tags.session = '{session}' and tags.role = 'pipeline'",
            max_results=1,
        )
        if found:
            run = Run(self, found[0].info.run_id)
            self.client.update_run(run.id, status="RUNNING")
            return run
        name = os.environ.get("DVC_EXP_NAME", f"repro {time.strftime('%Y-%m-%d %H:%M:%S')}")
        return self.create(name, role="pipeline", session=session)


class Cell:
    """Remembers beside a unit's file in which store its run is, so that it is logged once."""

    def __init__(self, store: Store, unit_path: Path) -> None:
        self.store = store
        self.marker = unit_path.with_suffix(".mlflow.json")

    def logged(self) -> bool:
        return self.marker.exists() and read_json(self.marker)["store"] == self.store.identity

    def remember(self, run: Run) -> None:
        write_json(self.marker, {"store": self.store.identity, "run_id": run.id})


def _session() -> str:
    """The same for all stages of one `dvc repro` or `dvc exp run`."""
    if name := os.environ.get("DVC_EXP_NAME"):
        return name
    this = psutil.Process()
    dvc = (p for p in this.parents() if "dvc" in [Path(part).name for part in p.cmdline()[:3]])
    process = next(dvc, this)
    return f"{process.pid}-{process.create_time():.0f}"


def _commit() -> str | None:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
