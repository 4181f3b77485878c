"""Disks that are full, read-only or somebody else's: a stage ends in one line, nothing is lost."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient
from PIL import Image

ROOT = Path(__file__).parents[2]
IMAGES = {"kind": "image_folder", "path": "pictures", "validation": 0.2, "test": 0.2, "seed": 0}
OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount"]
"""Beginning of a command that has a view of the disks for itself, in which it may mount."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or subprocess.run([*OWN_MOUNTS, "true"]).returncode != 0,
        reason="this system lets nobody mount",
    ),
]

READ_ONLY = "mount --bind {0} {0} && mount -o remount,bind,ro {0}"
FULL = "mount -t tmpfs -o size=24k none {0}"
FOREIGN = 65534
FAULTS = {
    "full": (FULL.format("data"), r"data/.*No space left on device"),
    "read-only": (READ_ONLY.format("data"), r"data/.*: Read-only file system"),
    "read-only work": (READ_ONLY.format(".work"), r"\.work/.*: Read-only file system"),
    "read-only store": (READ_ONLY.format("mlflow.db"), r"mlflow\.db: cannot be written, .* set"),
    "foreign": ("data", r"data/.*: Permission denied"),
    "foreign work": (".work", r"\.work/.*: Permission denied"),
    "foreign store": ("mlflow.db", r"mlflow\.db: cannot be written, .* set"),
}
"""Command that makes the fault, or what belongs to somebody else, and what is told."""


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path.read_bytes()


@pytest.fixture
def checkout(database, tmp_path) -> Path:
    """Where the stage `prepare` can run."""
    (tmp_path / "mlflow.db").write_bytes(database)
    params = {"prepare": {"images": {"pictures": IMAGES}}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    rng = np.random.default_rng(0)
    for label in range(2):
        (tmp_path / f"pictures/{label}").mkdir(parents=True)
        for i in range(40):
            Image.fromarray(rng.integers(0, 255, (28, 28), np.uint8)).save(
                tmp_path / f"pictures/{label}/{i}.png"
            )
    for folder in (".work/prepare", "data/images", "data/runs"):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def prepare(checkout: Path, before: str = "true") -> tuple[int, list[str]]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "DVC"))} | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'pipeline'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    done = subprocess.run(
        [*OWN_MOUNTS, "sh", "-c", f"{before} && {sys.executable} -m stages prepare"],
        cwd=checkout, env=env, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(("fault", "told"), FAULTS.values(), ids=FAULTS)
def test_a_stage_ends_in_a_line_and_goes_through_once_the_disk_is_mended(checkout, fault, told):
    if foreign := " " not in fault:
        if os.getuid() != 0:
            pytest.skip("only root gives files away")
        for path in (checkout / fault, *(checkout / fault).rglob("*")):
            os.chown(path, FOREIGN, FOREIGN)
    status, lines = prepare(checkout, "true" if foreign else fault)
    assert status == 2, lines
    (line,) = lines
    assert re.fullmatch(f"error: .*{told}.*", line)
    left = {str(path.relative_to(checkout)) for path in (checkout / "data").rglob("*")}
    assert left <= {"data/images", "data/runs"}, "something is half-written"
    for path in checkout.rglob("*"):
        os.chown(path, os.getuid(), os.getgid())
    assert prepare(checkout)[0] == 0
    assert (checkout / "data/images/pictures.zarr/zarr.json").exists()
