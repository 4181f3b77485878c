"""The program `python -m stages`: the name of a stage runs it, and `tidy` tidies `.work/`.

A user's mistake ends in one line and exit code 2.
"""

import importlib
import multiprocessing
import os
import platform
import signal
import sys
from multiprocessing import forkserver

from autos.compute import Compute
from autos.errors import (
    USER_ERROR,
    DamagedFileError,
    LostWorkerError,
    MissingFileError,
    SettingError,
    UserError,
    brief,
    unknown,
    user_message,
)
from stages._params import PARAMS, section

# What a worker process of each stage needs. Importing it takes a process of its own, from which
# workers are forked, about as long as this process needs for MLflow: so it starts first.
WORKERS_IMPORT = {
    "prepare": [],
    "irp": ["autos.irp.work", "autos.training.loop"],
    "train_predictor": ["autos.predictors.paper_fit"],
    "prune": ["autos.grid.mask_cells"],
    "finetune": ["autos.grid.finetune", "autos.training.loop"],
    "evaluate": [],
}

# With these variables, results are the same bytes on every x86 machine. Without them, machines that
# have AVX-512 compute with it, and sums come out in another order. Other machines ignore them.
ONE_INSTRUCTION_SET = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2",
}

CURES: dict[type[Exception], str] = {
    MissingFileError: "; `dvc repro` makes it",
    DamagedFileError: "; delete it and run `dvc repro` again",
    LostWorkerError: f"; lower compute.jobs in {PARAMS}",
}
"""What this pipeline adds to an error of the library: what its user can do."""


def main(arguments: list[str]) -> None:
    """Run the stage that is named by the only argument, or `tidy` with its own arguments.

    Raises:
        UserError: There is no such stage, or the stage raises it.
    """
    if arguments[:1] == ["tidy"]:
        from stages import _tidy  # It imports torch, which takes seconds.

        return _tidy.main(arguments[1:])
    if len(arguments) != 1 or arguments[0] not in WORKERS_IMPORT:
        raise UserError(unknown("stage", " ".join(arguments), WORKERS_IMPORT))
    name = arguments[0]
    if platform.machine() in ("x86_64", "AMD64"):
        for variable, value in ONE_INSTRUCTION_SET.items():
            os.environ.setdefault(variable, value)
    if WORKERS_IMPORT[name] and section(Compute, "compute").workers > 1:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(WORKERS_IMPORT[name])
        # Ctrl-C is for this process alone, which then ends the workers.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        forkserver.ensure_running()
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    importlib.import_module(f"stages.{name}").main()


def problem(error: Exception) -> str | None:
    """Return the line that tells the user of an error, or None if this program is at fault."""
    from stages._tracking import of_mlflow  # Once an error is told, time does not matter.

    if of_mlflow(error):
        return f"MLflow: {brief(error, 300)}"
    message = user_message(error)
    if isinstance(error, SettingError):
        return f"{PARAMS}: {message}"
    return None if message is None else message + CURES.get(type(error), "")


def run() -> None:
    """Run what the command line names, and exit."""
    try:
        main(sys.argv[1:])
    except Exception as error:
        told = problem(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        sys.exit(USER_ERROR)
