"""Files appear whole or not at all, and damaged ones are refused by name."""

import errno
import hashlib
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from autos.errors import DISK_ERRORS, UserError
from autos.storage.files import check_kind, file_digest, replacing, write_json
from autos.storage.records import Record
from autos.storage.tensors import read_tensors, write_tensors
from autos.storage.zarr_store import read_store, write_store

ROOT = Path(__file__).parents[2]
NAMED = {"kind": "thing", "version": 1}


class Thing(Record):
    """A record of numbers."""

    KIND: ClassVar = "thing"
    VERSION: ClassVar = 1
    x: list[float]


def write(path: Path, size: int) -> None:
    """Write `size` random numbers in the form that the suffix of `path` names."""
    numbers = np.random.default_rng(size).random(size)
    if path.suffix == ".json":
        Thing(x=numbers.tolist()).save(path)
    elif path.suffix == ".zarr":
        write_store(path, {"x": numbers}, about={}, **NAMED)
    else:
        write_tensors(path, {"x": torch.from_numpy(numbers)}, about={}, **NAMED)


def read(path: Path) -> list[float]:
    if path.suffix == ".json":
        return Thing.load(path).x
    reader = read_store if path.suffix == ".zarr" else read_tensors
    return reader(path, **NAMED)[0]["x"].tolist()


every_form = pytest.mark.parametrize("name", ["a.json", "a.safetensors", "a.zarr"])


# --- replacing ---


def test_a_file_has_its_old_content_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "new folder" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("one")
        assert not path.exists()
    with replacing(path) as temporary:
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_who_has_the_old_file_open_reads_it_to_its_end(tmp_path):
    write_json(tmp_path / "a.json", "old")
    with (tmp_path / "a.json").open("rb", buffering=0) as reader:
        write_json(tmp_path / "a.json", "new")
        assert json.loads(reader.read()) == "old"
    assert json.loads((tmp_path / "a.json").read_text()) == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_write_that_is_broken_off_changes_nothing(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_writer_that_is_killed_changes_nothing_under_the_name(tmp_path):
    write_json(tmp_path / "a.json", "old")
    code = (
        "import os, signal; from pathlib import Path; from autos.storage.files import replacing\n"
        "with replacing(Path('a.json')) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    env = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env)
    assert done.returncode == -signal.SIGKILL
    assert json.loads((tmp_path / "a.json").read_text()) == "old"
    write_json(tmp_path / "a.json", "new")
    assert json.loads((tmp_path / "a.json").read_text()) == "new"


# --- JSON ---


def test_json_comes_back_as_written_and_in_order(tmp_path):
    content = {"z": [1, 2.5, None, True], "a": {"ä": "ö\n"}, "m": 0.1 + 0.2, "e": 1e-300}
    write_json(tmp_path / "a.json", content)
    found = json.loads((tmp_path / "a.json").read_text())
    assert found == content and list(found) == list(content)


@every_form
def test_a_second_write_gives_the_same_bytes(tmp_path, name):
    write(tmp_path / name, 50)
    write(tmp_path / "again" / name, 50)

    def content(folder: Path) -> dict[str, bytes]:
        path = folder / name
        files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
        return {str(file.relative_to(folder)): file.read_bytes() for file in files}

    assert content(tmp_path) == content(tmp_path / "again") != {}


@pytest.mark.parametrize(
    "content", [b"", b'{"a": 1', b'{"a": 1}}', b'{"a": "\xff"}', b"\x00" * 8, b"kind: mask"]
)
def test_damaged_json_is_refused(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}: damaged .*$"):
        Thing.load(path)


@pytest.mark.parametrize("reader", [Thing.load, file_digest])
def test_a_missing_file_is_named(tmp_path, reader):
    with pytest.raises(UserError, match=f"^{tmp_path / 'a.json'}: not found$"):
        reader(tmp_path / "a.json")


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    content = np.random.default_rng(0).bytes(300_000)
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"kind": "dog", "version": 1}, "x.json: is not a thing but dog$"),
        ({}, "x.json: is not a thing but something else$"),
        ({"kind": "thing", "version": 2}, "x.json: thing of version 2, .* reads version 1$"),
        ({"kind": "thing"}, "x.json: thing of version None"),
        (["kind", "version"], r"x.json: damaged \(holds no mapping but a list\)$"),
        ("kind", r"x.json: damaged \(holds no mapping but a str\)$"),
        (None, r"x.json: damaged \(holds no mapping but a NoneType\)$"),
    ],
)
def test_a_file_of_another_kind_or_version_is_refused(header, message):
    check_kind(Path("x.json"), NAMED, **NAMED)
    with pytest.raises(UserError, match=message):
        check_kind(Path("x.json"), header, **NAMED)


# --- writes that fail ---


@every_form
@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_parent_that_is_a_file_is_named_and_stays(tmp_path, name, folder):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError) as error:
        write(tmp_path / folder / name, 5)
    assert error.value.filename == str(tmp_path / folder)
    assert error.value.errno in DISK_ERRORS, "a stage would end with a traceback"
    assert (tmp_path / "file").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory) -> tuple[Path, dict[str, list]]:
    """A folder after a process wrote each file small, then big, which failed; the errors."""
    folder = tmp_path_factory.mktemp("full")
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["autos.irp.work"])  # also for the workers of later tests
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=fill_disk, args=(folder, there))
    process.start()
    there.close()
    errors = here.recv()
    process.join()
    return folder, errors


def fill_disk(folder: Path, answer: Connection) -> None:
    """Runs in a process of its own, in which no file may grow beyond 4 kB."""
    os.chdir(folder)
    names = ("a.json", "a.safetensors", "a.zarr")
    for name in names:
        write(Path(name), 5)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    errors = {}
    for name in names:
        try:
            write(Path(name), 5000)
        except (OSError, UserError) as error:
            errors[name] = [type(error).__name__, str(error), getattr(error, "errno", None)]
    answer.send(errors)


@every_form
def test_a_full_disk_is_told_in_one_line(full_disk, name):
    kind, message, number = full_disk[1][name]
    assert "File too large" in message and "\n" not in message
    if kind == "UserError":
        assert message.startswith(f"{name}: ")
    else:
        assert number == errno.EFBIG and number in DISK_ERRORS


@every_form
def test_a_full_disk_leaves_the_old_content_and_nothing_else(full_disk, tmp_path, name):
    folder, _ = full_disk
    write(tmp_path / name, 5)
    assert read(folder / name) == read(tmp_path / name)
    assert sorted(path.name for path in folder.iterdir()) == ["a.json", "a.safetensors", "a.zarr"]
