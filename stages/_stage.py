"""What every stage does around its work: it holds a lock, logs to MLflow and shows progress."""

import fcntl
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from autos.config import Config
from autos.errors import UserError
from stages._tracking import Curve, Logged, LoggedRun, Store, flatten

T = TypeVar("T")

RUNS, SECONDS = Path("data/runs"), Path("data/seconds")
"""Folders of what differs from run to run, which DVC does not know: the MLflow run of each stage,
and the seconds that its cells took."""

LOCK = "lock"
"""Name of the file that a stage at work holds locked, in its folder of units."""

SECONDS_BETWEEN_LINES = 10.0
"""Least time between two lines of progress, where there is no terminal."""


def lock_of(stage: str) -> Path:
    """Return the file that a stage at work holds locked."""
    return Path(".work", stage, LOCK).absolute()


@contextmanager
def locked(stage: str) -> Iterator[None]:
    """Hold the lock of a stage, after waiting for any other process in that stage to end.

    Such a process goes on alone when its dvc is killed.
    """
    path = lock_of(stage)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{stage}: waiting for another run of this stage to end", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Stage:
    """A stage at work, which holds its lock and its MLflow run.

    Args:
        name: Name of the stage, of its module and of its section in params.yaml.
        config: Settings of the stage, which are logged as parameters.
    """

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(locked(self.name))
            self.store = Store()
            self.store.end_killed(lock_of(self.name))
            self.tags = {"stage": self.name, "lock": str(lock_of(self.name))}
            self.run = self.store.pipeline.child(self.name, role="stage", tags=self.tags)
            self.run.log(params=flatten(self.config, f"{self.name}."))
            self.held = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self.held:
            if error is None:
                self._end("FINISHED")
                # A later `dvc repro` that finds this stage unchanged links to this run.
                record = LoggedRun(store=self.store.identity, run_id=self.run.id)
                record.save(RUNS / f"{self.name}.json")
                return
            # What MLflow says now, if the error is its own, is not what is to be told.
            with suppress(Exception):
                self._end("FAILED" if isinstance(error, Exception) else "KILLED")

    def _end(self, status: str) -> None:
        self.run.end(status)
        self.store.pipeline.end(status)

    def progress(self, units: Iterator[tuple[T, bool]], total: int) -> Iterator[T]:
        """Pass units on as they come, show how far the stage is, and log their counts.

        Args:
            units: What `autos.work.executor.run` yields.
            total: Number of all units.
        """
        counts = {True: 0, False: 0}
        bar = _Progress(self.name, total)
        for unit, reused in units:
            counts[reused] += 1
            bar.update(counts[True], counts[False])
            yield unit
        bar.close()
        self.run.log(metrics={"units_computed": counts[False], "units_reused": counts[True]})

    def log_cell(
        self,
        unit_path: Path,
        name: str,
        *,
        params: Mapping[str, object],
        metrics: Mapping[str, float | Curve],
        seconds: float = 0.0,
    ) -> None:
        """Log a cell as a child run, unless this MLflow store has it from an earlier run.

        Args:
            unit_path: File of the cell's unit.
            name: Name of the run.
            params: Parameters of the run.
            metrics: Metrics of the run.
            seconds: Time that the cell took; the run is noted as if it began so long ago.
        """
        logged = Logged(self.store, unit_path)
        if logged.before():
            return
        run = self.run.child(name, role="cell", seconds=seconds, tags=self.tags)
        run.log(params=params, metrics=metrics)
        run.end()
        logged.remember(run)

    def link_stages(self) -> None:
        """Tag the run of this `dvc repro` with the runs of all stages, unchanged ones included."""
        tags = {f"stage.{self.name}": self.run.id}
        for path in sorted(RUNS.glob("*.json")):
            try:
                record = LoggedRun.load(path)
            except UserError as error:
                print(f"warning: {error}; the run of this stage is not linked", file=sys.stderr)
                continue
            if record.store == self.store.identity:
                tags[f"stage.{path.stem}"] = record.run_id
        self.store.pipeline.log(tags=tags)


class _Progress:
    """Progress of a stage: a bar on a terminal, and a line now and then elsewhere."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total = name, total
        self.start = self.last_line = time.monotonic()
        self.bar = tqdm(total=total, desc=name, unit="unit") if sys.stderr.isatty() else None

    def update(self, reused: int, computed: int) -> None:
        if self.bar is not None:
            self.bar.set_postfix(reused=reused, refresh=False)
            self.bar.update()
            return
        now, done = time.monotonic(), reused + computed
        if now - self.last_line < SECONDS_BETWEEN_LINES and done < self.total:
            return
        self.last_line = now
        line = f"{self.name}: {done} of {self.total} done, {reused} of them reused"
        if computed and done < self.total:
            left = (now - self.start) / computed * (self.total - done)
            line += f", about {left:.0f} s left"
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
