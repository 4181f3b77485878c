"""What every stage does around its work: one at a time, MLflow runs, progress."""

import fcntl
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

from pipeline.config import Config
from pipeline.files import read_json, write_json
from stages._tracking import Cell, Curve, Store, flatten

T = TypeVar("T")

RUNS = Path("data/runs")
SECONDS_BETWEEN_LINES = 10.0


class Stage:
    """A stage at work: holds its lock and its MLflow run.

    Args:
        name: of the stage, its module and its section in params.yaml.
        config: its settings, logged as parameters.
    """

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._lock(stack)
            self.store = Store()
            self.run = self.store.pipeline.child(self.name, role="stage")
            self.run.log(params=flatten(self.config, f"{self.name}."))
            self.held = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        status = "FINISHED" if error is None else "FAILED"
        self.run.end(status)
        self.store.pipeline.end(status)
        if error is None:
            # For a later `dvc repro` that finds this stage unchanged.
            record = {"run_id": self.run.id, **self.store.identity}
            write_json(RUNS / f"{self.name}.json", record)
        self.held.close()

    def _lock(self, stack: ExitStack) -> None:
        """Wait for another process in the same stage: one whose dvc was killed goes on alone."""
        path = Path(".work") / self.name / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        file = stack.enter_context(path.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{self.name}: waiting for another run of this stage to end", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)

    def progress(self, units: Iterator[tuple[T, bool]], total: int) -> Iterator[T]:
        """Pass the units of `executor.run` on, show how far it is, and log the counts."""
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
        """A child run for a cell, unless this MLflow store has it from an earlier run.

        Args:
            seconds: how long the cell took, up to now.
        """
        cell = Cell(self.store, unit_path)
        if cell.logged():
            return
        run = self.run.child(name, role="cell", seconds=seconds)
        run.log(params=params, metrics=metrics, tags={"stage": self.name})
        run.end()
        cell.remember(run)

    def link_stages(self) -> None:
        """Tag the run of this `dvc repro` with every stage's run, also those DVC did not rerun."""
        tags = {f"stage.{self.name}": self.run.id}
        for path in sorted(RUNS.glob("*.json")):
            record = read_json(path)
            if all(record[key] == value for key, value in self.store.identity.items()):
                tags[f"stage.{path.stem}"] = record["run_id"]
        self.store.pipeline.log(tags=tags)


class _Progress:
    """A bar on a terminal; elsewhere a line now and then."""

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
