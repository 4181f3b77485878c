"""Runs one stage: `python -m stages NAME`. A user's mistake ends in one line and exit code 2."""

import errno
import importlib
import multiprocessing
import sys
from multiprocessing import forkserver

from pipeline.compute import Compute
from pipeline.errors import UserError, unknown

USER_ERROR = 2

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

DISK_ERRORS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.EIO,
)


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
    except UserError as error:
        problem = str(error)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        problem = f"{error.filename or 'disk'}: {error.strerror}"
    except KeyboardInterrupt:
        problem = "interrupted; finished work is kept"
    except Exception as error:
        # MLflow is imported only once a stage runs.
        if not type(error).__module__.startswith("mlflow."):
            raise
        problem = f"MLflow: {' '.join(str(error).split())[:300]}"
    else:
        sys.exit()
    print(f"error: {problem}", file=sys.stderr)
    sys.exit(USER_ERROR)
