"""Runs one stage: `python -m stages NAME`. A user's mistake ends in one line and exit code 2."""

import importlib
import multiprocessing
import sys
from multiprocessing import forkserver

from pipeline.compute import Compute
from pipeline.errors import UserError, unknown
from pipeline.exits import USER_ERROR, one_line

# What a worker process of each stage needs. Importing it takes a process of its own, from which
# workers are forked, about as long as this process needs for MLflow: so it starts first.
WORKERS_IMPORT = {
    "prepare": [],
    "irp": ["pipeline.irp", "pipeline.training"],
    "train_predictor": ["pipeline.predictor_fit"],
    "prune": ["pipeline.predicted_mask_cells"],
    "finetune": ["pipeline.finetune_cells", "pipeline.training"],
    "evaluate": [],
}


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in WORKERS_IMPORT:
        raise UserError(unknown("stage", " ".join(arguments), WORKERS_IMPORT))
    name = arguments[0]
    if WORKERS_IMPORT[name] and Compute.load("compute").workers > 1:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(WORKERS_IMPORT[name])
        forkserver.ensure_running()
    importlib.import_module(f"stages.{name}").main()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        problem: str | None = "interrupted; finished work is kept"
    except Exception as error:
        problem = one_line(error)
        # MLflow is imported only once a stage runs.
        if problem is None and type(error).__module__.startswith("mlflow."):
            problem = f"MLflow: {' '.join(str(error).split())[:300]}"
        if problem is None:
            raise
    else:
        sys.exit()
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(USER_ERROR)
