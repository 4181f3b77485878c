"""The program that runs a comparison, and writes its tables and plots into a document in docs/."""

import copy
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from autos.errors import unknown
from comparisons.tables import TABLES

ROOT = Path(__file__).parents[1]
FILES = Path(__file__).parent
WORK = ROOT / ".work/comparisons"
DOCS = ROOT / "docs"

RESULTS = ["finetuned", "masks", "survival.zarr", "seconds"]
"""Names, within data/, of what tables are made of and of what later runs may start from."""


def main(name: str) -> None:
    """Compute all runs of a comparison, and write its document."""
    names = sorted(path.stem for path in FILES.glob("*.yaml"))
    if name not in names:
        sys.exit(f"error: {unknown('comparison', name, names)}")
    document = next(DOCS.rglob(f"{name}.md"))
    params = yaml.safe_load((FILES / f"{name}.yaml").read_text())
    runs = params.pop("runs")
    folder = WORK / name
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for shared in ("data/fashion_mnist_sample", "data/raw"):
        if not (folder / shared).is_symlink():
            (folder / shared).symlink_to(ROOT / shared)
    for run, changes in runs.items():
        print(f"{name}: {run}", flush=True)
        write_params(folder, changed(params, changes))
        for stage in stages(changed(params, changes)):
            compute(folder, stage)
        keep(folder, place(folder, run))
    lines = TABLES[name]({run: place(folder, run) for run in runs}, document.with_suffix(""))
    insert(document, [*lines, "", machine()])


def changed(params: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the parameters with other values at dotted keys."""
    new = copy.deepcopy(dict(params))
    for key, value in (changes or {}).items():
        *sections, last = key.split(".")
        place = new
        for section in sections:
            place = place[section]
        place[last] = value
    return new


def stages(params: Mapping[str, Any]) -> list[str]:
    """Return the stages that the parameters have a section for, in their order.

    Only comparisons with trained predictors need the stages `irp` and `train_predictor`.
    """
    order = ["prepare", "irp", "train_predictor", "prune", "finetune"]
    return [stage for stage in order if stage in params]


def write_params(folder: Path, params: Mapping[str, Any]) -> None:
    """Write the parameters of a run where its stages find them."""
    (folder / "params.yaml").write_text(yaml.safe_dump(dict(params), sort_keys=False))


def compute(folder: Path, stage: str) -> None:
    """Run a stage in a folder, or exit if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "stages", stage]
    if subprocess.run(command, cwd=folder, env=environment).returncode:
        sys.exit(f"error: stage {stage} failed")


def place(folder: Path, run: str) -> Path:
    """Return the folder in which the results of a run are kept."""
    return folder / "runs" / re.sub(r"\W+", "_", run)


def keep(folder: Path, kept: Path) -> None:
    """Copy what a run has made to a folder of its own."""
    for name in RESULTS:
        source, target = folder / "data" / name, kept / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def machine() -> str:
    """Word the machine and the versions that a comparison was measured with."""
    import torch  # It takes seconds to import.

    cpu = next(
        line.split(": ")[1]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    cores = len(os.sched_getaffinity(0))
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"Measured on {cores} cores of {cpu}, {versions}."


def insert(document: Path, lines: list[str]) -> None:
    """Put lines between the markers of a document."""
    begin, end = "<!-- tables -->", "<!-- /tables -->"
    before, _, rest = document.read_text().partition(begin)
    _, _, after = rest.partition(end)
    document.write_text("\n".join([before + begin, *lines, end]) + after)


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
