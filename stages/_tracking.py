"""MLflow: one run per `dvc repro`, below it one per stage, below that one per cell.

MLflow takes seconds to import and is needed in the stage's own process only, so it is imported
inside the functions.
"""

import contextlib
import fcntl
import logging
import os
import platform
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import psutil

from autos.config import Config
from autos.errors import UserError, brief
from autos.storage.files import replacing
from autos.storage.mlflow_models import SQLITE, local_store
from autos.storage.records import Record

EXPERIMENT = "autos"
"""Name of the MLflow experiment that holds all runs, unless MLflow's own variables name another."""

CURE = "move it away to begin a new one, or set MLFLOW_TRACKING_URI"
"""What helps where the database in the repository cannot be used."""

PATIENCE = 20.0
"""Seconds to wait for another process that writes to the database, as MLflow itself does."""

Curve = Sequence[tuple[int, float]]
"""Values of a metric, each after its step."""


def root() -> Path:
    """Return the folder of the repository.

    DVC names it to stages that it runs in a copy, as `dvc exp run --temp` does.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def flatten(config: Config | Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested settings into parameters such as {"train.lr": 0.1}."""
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
        """Log parameters, metrics and tags, in one request if MLflow takes as many.

        Args:
            params: Parameters by name.
            metrics: Metrics by name, each a value or a curve of (step, value) pairs.
            tags: Tags by name.
        """
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
        """Log a file, in a folder of the run's artifacts if one is given."""
        self.store.client.log_artifact(self.id, str(path), folder)

    def child(
        self, name: str, role: str, seconds: float = 0.0, tags: Mapping[str, str] | None = None
    ) -> "Run":
        """Start a run below this one, or note one that began `seconds` ago."""
        return self.store.create(name, role=role, parent=self.id, seconds=seconds, **(tags or {}))

    def end(self, status: str = "FINISHED") -> None:
        """End the run, with one of MLflow's statuses."""
        self.store.client.set_terminated(self.id, status)


class Store:
    """The MLflow store of this repository, or the one that MLFLOW_TRACKING_URI names.

    Raises:
        UserError: The store cannot be reached or written.
    """

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        self.uri = os.environ.get("MLFLOW_TRACKING_URI") or local_store(root())
        self.local = self.uri.startswith(SQLITE)
        import mlflow

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # It would print a traceback beside the exception, which is told in a line.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        mlflow.set_tracking_uri(self.uri)
        # Processes that create the database or the parent run at the same time break it.
        lock = root() / ".work" / "mlflow.lock"
        lock.parent.mkdir(exist_ok=True)
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            try:
                if self.local:
                    check_database(self.uri)
                self.client = mlflow.MlflowClient(self.uri)
                self.experiment = self._experiment()
                self.pipeline = self._pipeline()
            except Exception as error:
                if not of_mlflow(error):
                    raise
                cure = f"; {CURE}" if self.local and "sqlite3." in str(error) else ""
                raise UserError(f"MLflow store {self.uri}: {brief(error, 300)}{cure}") from None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Facts that tell this store from one that was deleted and made again."""
        return {
            "uri": self.uri,
            "experiment": self.experiment.experiment_id,
            "created": self.experiment.creation_time,
        }

    def create(
        self, name: str, *, role: str, parent: str | None = None, seconds: float = 0.0, **tags: str
    ) -> Run:
        """Start a run, or note one that began some time ago.

        Args:
            name: Name of the run.
            role: What the run is of: "pipeline", "stage" or "cell".
            parent: Identifier of the run above it.
            seconds: Time since the run began.
            tags: More tags of the run.
        """
        if parent:
            tags["mlflow.parentRunId"] = parent
        source = " ".join(sys.orig_argv[-2:])
        tags = {"role": role, "host": platform.node(), "mlflow.source.name": source, **tags}
        if commit := _commit():
            tags["mlflow.source.git.commit"] = commit
        run = self.client.create_run(
            self.experiment.experiment_id,
            run_name=name,
            tags=tags,
            start_time=int(1000 * (time.time() - seconds)),
        )
        return Run(self, run.info.run_id)

    def end_killed(self, lock: Path) -> None:
        """End the runs of stages on this machine that were killed and could not do it themselves.

        A stage at work holds the file locked that its runs name, and a pipeline at work has one.

        Args:
            lock: File that this process holds locked.
        """
        found = self.client.search_runs(
            [self.experiment.experiment_id], "attributes.status = 'RUNNING'"
        )
        # Who shares a database file shares the machine, but for its name in a container.
        ours = [r for r in found if self.local or r.data.tags.get("host") == platform.node()]
        alive = {self.pipeline.id}
        for run in ours:
            name = run.data.tags.get("lock", lock)
            if Path(name) != lock and held(Path(name)):
                alive |= {run.info.run_id, run.data.tags["mlflow.parentRunId"]}
        for run in ours:
            if "role" in run.data.tags and run.info.run_id not in alive:
                self.client.set_terminated(run.info.run_id, "KILLED")

    def _experiment(self) -> Any:
        """Return the experiment that MLflow's own variables name, or else ours."""
        experiment: Any
        if identifier := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            experiment = self.client.get_experiment(identifier)
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
            experiment = self.client.get_experiment_by_name(name)
            if experiment is None:
                place = (root() / "mlartifacts").as_uri() if self.local else None
                identifier = self.client.create_experiment(name, artifact_location=place)
                experiment = self.client.get_experiment(identifier)
        if experiment.lifecycle_stage == "deleted":
            raise UserError(
                f"MLflow store {self.uri}: the experiment {experiment.name!r} was deleted; restore "
                f"it by `MLFLOW_TRACKING_URI={shlex.quote(self.uri)} mlflow experiments restore "
                f"--experiment-id {experiment.experiment_id}`, or name another one in "
                "MLFLOW_EXPERIMENT_NAME"
            )
        return experiment

    def _pipeline(self) -> Run:
        """Return the parent run of this `dvc repro`, which the stage that comes first makes."""
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


class LoggedRun(Record):
    """A run, and the store that it is in, for whoever comes later."""

    KIND: ClassVar = "MLflow run"
    VERSION: ClassVar = 1
    store: dict[str, Any]
    """Identity of the store."""
    run_id: str
    """Identifier of the run."""


class Logged:
    """A note beside a unit's file of the store that its run is in, so that it is logged once."""

    def __init__(self, store: Store, unit_path: Path) -> None:
        self.store = store
        self.marker = unit_path.with_suffix(".mlflow.json")

    def before(self) -> bool:
        """Tell whether the store has the run of the unit."""
        try:
            return LoggedRun.load(self.marker).store == self.store.identity
        except UserError:
            return False  # A run that is logged twice is better than one that is lost.

    def remember(self, run: Run) -> None:
        """Note that the store has this run of the unit."""
        LoggedRun(store=self.store.identity, run_id=run.id).save(self.marker)


def held(lock: Path) -> bool:
    """Tell whether a process holds a file locked."""
    if not lock.exists():
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def of_mlflow(error: BaseException) -> bool:
    """Tell whether an error comes from MLflow or from the database below it."""
    # The class is told by its module, as MLflow is imported only once a stage runs.
    return type(error).__module__.partition(".")[0] in ("mlflow", "sqlalchemy", "alembic")


def check_database(uri: str) -> None:
    """Check that MLflow can use a database file, and make it if it is not there.

    MLflow would try for minutes to open what cannot be opened, and it leaves a database of no use
    if it is killed while it makes one.

    Raises:
        UserError: The file, or its folder, cannot be read and written, is no database, or stays
            locked by another process.
    """
    from mlflow import MlflowClient

    if set("?%:") & set(uri.removeprefix(SQLITE)):
        return  # It has options, or is in memory.
    path = Path(uri.removeprefix(SQLITE))
    if not path.exists():
        if "'" in str(path):
            raise UserError(
                f"{path}: MLflow makes no database in a folder with ' in its path; rename the "
                "folder, or set MLFLOW_TRACKING_URI"
            )
        with replacing(path) as temporary:
            MlflowClient(local_store(path.parent, temporary.name)).search_experiments()
    for place in (path, path.parent):
        if not os.access(place, os.R_OK | os.W_OK):
            raise UserError(
                f"{place}: cannot be written, as MLflow needs; give yourself the right to, or set "
                "MLFLOW_TRACKING_URI"
            )
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.Error as error:
        cure = "end the process that holds it" if "locked" in str(error) else CURE
        raise UserError(f"{path}: {error}; {cure}") from None


def _session() -> str:
    """Return a name that is the same for all stages of one `dvc repro` or `dvc exp run`."""
    if name := os.environ.get("DVC_EXP_NAME"):
        return name
    this = psutil.Process()
    dvc = (p for p in this.parents() if "dvc" in [Path(part).name for part in p.cmdline()[:3]])
    process = next(dvc, this)
    return f"{process.pid}-{process.create_time():.0f}"


def _commit() -> str | None:
    """Return the commit that this checkout is of; an archive unpacked in another one has none."""
    command = ["git", "rev-parse", "HEAD", "HEAD:./dvc.yaml"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None  # There is no git.
    return done.stdout.split()[0] if done.returncode == 0 else None
