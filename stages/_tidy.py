"""The program `make tidy`: tells how large `.work/` is, and removes units that are of no use.

These are the units that no current parameter names. No stage removes finished units by itself,
since parameters go to and fro.
"""

import importlib
from collections.abc import Iterable
from pathlib import Path

from autos.errors import UserError
from autos.work.units import WORK
from stages._stage import LOCK, locked

STAGES = ("irp", "train_predictor", "prune", "finetune")
"""Names of the stages that keep units."""

DRY_RUN = "--dry-run"


def main(arguments: list[str]) -> None:
    """Remove the units that no current parameter names, stage by stage, or only tell of them.

    Args:
        arguments: Either none, or `--dry-run` to remove nothing.

    Raises:
        UserError: There is another argument.
    """
    if arguments not in ([], [DRY_RUN]):
        raise UserError(f"tidy {' '.join(arguments)}: it takes nothing but {DRY_RUN}")
    for stage in STAGES:
        tidy(stage, remove=not arguments)


def tidy(stage: str, *, remove: bool) -> None:
    """Tell how large the units of a stage are, and remove those that are of no use.

    All units are kept where they cannot be named, as those of `finetune` without masks.
    """
    with locked(stage):
        files = [path for path in (WORK / stage).iterdir() if path.name != LOCK]
        try:
            units = importlib.import_module(f"stages.{stage}").units()
        except UserError as error:
            print(f"{stage}: {megabytes(files)}, all of it kept: {error}")
            return
        named = tuple(unit.path.stem for unit in units)
        unused = [path for path in files if not path.name.startswith(named)]
        done = "removed" if remove else "could be removed"
        print(f"{stage}: {megabytes(files)}; {megabytes(unused)} {done}")
        if remove:
            for path in unused:
                path.unlink()


def megabytes(files: Iterable[Path]) -> str:
    """Word the number of files, and how large they are together."""
    sizes = [path.stat().st_size for path in files]
    return f"{sum(sizes) / 1e6:,.1f} MB in {len(sizes):,} files"
