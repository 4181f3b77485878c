"""The pipeline runs from every form of a checkout: a clone is not the only one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIPELINE = """
stages:
  tell:
    cmd: >-
      python -c "import json; from stages._tracking import _commit, root;
      json.dump([str(root()), _commit()], open('told.json', 'w'))"
    outs: [told.json]
"""
GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]


def run(folder: Path, *command: str) -> str:
    env = os.environ | {
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'pipeline'}",
        "DVC_NO_ANALYTICS": "true",
        "DVC_SITE_CACHE_DIR": str(folder / ".site"),
        # The folders of tests may lie within a repository.
        "GIT_CEILING_DIRECTORIES": str(folder.parents[1]),
    }
    env.pop("DVC_ROOT", None)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def repro(folder: Path) -> tuple[str, str | None]:
    """Run a pipeline by the Makefile; return the root and the commit that its stage saw."""
    arguments = "ARGS=--force --no-run-cache"
    run(folder, "make", "--silent", "--assume-old=setup", "repro", arguments)
    return tuple(json.loads((folder / "told.json").read_text()))


def unpacked(folder: Path) -> Path:
    """What an archive of the repository holds, as far as DVC and make look at it."""
    shutil.copytree(
        ROOT / ".dvc", folder / ".dvc", ignore=shutil.ignore_patterns("*local", "tmp", "cache")
    )
    for name in ("Makefile", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    (folder / "dvc.yaml").write_text(PIPELINE)
    return folder


def committed(folder: Path) -> str:
    """Commit all that is in a folder, and return the commit."""
    run(folder, *GIT, "init", "--quiet")
    run(folder, *GIT, "add", "--all")
    run(folder, *GIT, "commit", "--quiet", "--message", "all")
    return run(folder, "git", "rev-parse", "HEAD")


def test_an_archive_without_git_and_the_repository_that_it_becomes(tmp_path):
    folder = unpacked(tmp_path / "archive")
    assert repro(folder) == (str(folder), None)
    (folder / "told.json").unlink()  # Without git, nothing was told to ignore it.
    commit = committed(folder)
    assert repro(folder) == (str(folder), commit)
    assert "no_scm" not in (folder / ".dvc/config.local").read_text()


def test_a_subfolder_of_a_repository_with_and_without_its_files_in_it(tmp_path):
    folder = unpacked(tmp_path / "whole/part")
    run(tmp_path / "whole", *GIT, "init", "--quiet")
    run(tmp_path / "whole", *GIT, "commit", "--quiet", "--allow-empty", "--message", "none")
    assert repro(folder) == (str(folder), None), "the commit is not of these files"
    commit = committed(tmp_path / "whole")
    assert repro(folder) == (str(folder), commit)


def test_a_worktree_on_another_drive(tmp_path):
    drive = Path("/dev/shm")
    if not drive.is_dir() or drive.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other drive")
    folder = unpacked(tmp_path / "main")
    commit = committed(folder)
    worktree = drive / f"autos-{os.getpid()}"
    try:
        run(folder, "git", "worktree", "add", "--quiet", str(worktree))
        assert repro(worktree) == (str(worktree), commit)
    finally:
        shutil.rmtree(worktree)
