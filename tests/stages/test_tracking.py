"""Runs in a real MLflow store: who is whose parent, that all arrives, and what is reused."""

import contextlib
import json
import math
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import mlflow.cli
import pytest
from click.testing import CliRunner
from mlflow import MlflowClient

from autos.config import Config
from autos.errors import Stopped, UserError
from autos.storage.mlflow_models import located
from stages._stage import Stage, locked
from stages._tracking import Logged, LoggedRun, Run, Store, flatten

ROOT = Path(__file__).parents[2]


class Training(Config):
    lr: float = 0.1
    milestones: tuple[int, ...] = (60, 120)


class Settings(Config):
    train: Training = Training()
    name: str = "net"
    path: Path | None = Path("data/x")


def environment(folder: Path, **more: str) -> dict[str, str]:
    """For a process whose store is in `folder`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "DVC"))}
    return inherited | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'pipeline'}",
        "DVC_ROOT": str(folder),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "no_proxy": "127.0.0.1",
        **more,
    }


@pytest.fixture(scope="module")
def made_at_once(tmp_path_factory) -> tuple[Path, list[dict]]:
    """A folder in which two processes made the store at the same time, and what they saw."""
    folder = tmp_path_factory.mktemp("repository")
    code = (
        "import json, os; from stages._tracking import Store; store = Store()\n"
        "print(json.dumps({'parent': store.pipeline.id, **store.identity}))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path_factory.mktemp("elsewhere"),
            env=environment(folder, DVC_EXP_NAME="first"), stdout=-1, stderr=-1, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    answers = []
    for process in processes:
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        answers.append(json.loads(output))
    return folder, answers


@pytest.fixture
def folder(made_at_once, monkeypatch) -> Iterator[Path]:
    """The folder of that store, which this process now uses as session `first`."""
    folder, _ = made_at_once
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("DVC_EXP_NAME", "first")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    yield folder
    mlflow.set_tracking_uri(None)


@pytest.fixture
def run(folder) -> Run:
    return Store().pipeline.child("a stage", role="stage")


def stored(run: Run) -> mlflow.entities.Run:
    return MlflowClient(run.store.uri).get_run(run.id)


# --- parameters ---


def test_nested_settings_become_flat_and_lists_stay():
    assert flatten(Settings(), "finetune.") == {
        "finetune.train.lr": 0.1,
        "finetune.train.milestones": [60, 120],
        "finetune.name": "net",
        "finetune.path": "data/x",
    }
    assert flatten({"a": {"b": {"c": 1}, "d": None}, "e": [{"f": 2}], "g": {}}) == {
        "a.b.c": 1,
        "a.d": None,
        "e": [{"f": 2}],
    }


# --- the store ---


def test_two_processes_at_once_make_one_store_with_one_parent(made_at_once):
    folder, (first, second) = made_at_once
    assert first == second
    assert first["uri"] == f"sqlite:///{folder / 'mlflow.db'}"
    assert {path.name for path in folder.iterdir()} == {"mlflow.db", ".work"}
    client = MlflowClient(first["uri"])
    assert client.get_experiment_by_name("autos").experiment_id == first["experiment"]
    (parent,) = client.search_runs([first["experiment"]])
    assert parent.info.run_id == first["parent"] and parent.info.run_name == "first"
    assert parent.data.tags["role"] == "pipeline"


def test_artifacts_are_kept_beside_the_database(folder, run):
    (folder / "a.txt").write_text("hello")
    run.log_artifact(folder / "a.txt", "texts")
    kept = folder / f"mlartifacts/{run.id}/artifacts/texts/a.txt"
    assert kept.read_text() == "hello"


def test_a_session_has_one_parent_and_another_session_another(folder, made_at_once, monkeypatch):
    assert Store().pipeline.id == Store().pipeline.id == made_at_once[1][0]["parent"]
    monkeypatch.setenv("DVC_EXP_NAME", "second")
    second = Store().pipeline
    assert second.id == Store().pipeline.id != made_at_once[1][0]["parent"]
    assert stored(second).info.run_name == "second"


def test_a_parent_runs_again_when_a_further_stage_begins(folder):
    first = Store().pipeline
    first.end()
    assert stored(first).info.status == "FINISHED"
    assert stored(Store().pipeline).info.status == "RUNNING"


def test_all_stages_of_one_dvc_process_are_one_session(tmp_path):
    dvc = tmp_path / "dvc"
    dvc.write_text(
        "import subprocess, sys\n"
        "stage = 'from stages._tracking import _session; print(_session())'\n"
        "for _ in range(2):\n"
        "    subprocess.run(['sh', '-c', f'{sys.executable} -c \"{stage}\"; true'], check=True)\n"
    )
    sessions = []
    for program in dvc, dvc, shutil.copy(dvc, tmp_path / "other"):
        command = [sys.executable, program]
        done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        sessions.append(done.stdout.split())
    assert [len(set(found)) for found in sessions] == [1, 1, 2]
    assert len({session for found in sessions for session in found}) == 4


def test_a_store_that_cannot_be_used_is_named(folder, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    with pytest.raises(UserError, match=r"^MLflow store nonsense://x: "):
        Store()


def copied(source: Path, folder: Path) -> Path:
    """A folder with a copy of the database, which is quicker than making one."""
    folder.mkdir()
    shutil.copy(source / "mlflow.db", folder)
    return folder


@pytest.fixture
def checkout(made_at_once, tmp_path, monkeypatch, request) -> Iterator[Path]:
    """The current folder, with a store of its own and no variable of MLflow."""
    folder = copied(made_at_once[0], tmp_path / getattr(request, "param", "checkout"))
    monkeypatch.chdir(folder)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    yield folder
    mlflow.set_tracking_uri(None)


# One folder for all: MLflow would take the same path from another folder for the same store.
@pytest.mark.parametrize("checkout", ['what? x=1&y=2, 50% off%20é#1;"'], indirect=True)
def test_the_store_and_its_files_stay_in_a_checkout_of_any_name(checkout, tmp_path):
    run = Store().pipeline
    Path("note.txt").write_text("hello")
    run.log_artifact(Path("note.txt"))
    with contextlib.closing(sqlite3.connect(checkout / "mlflow.db")) as database:
        assert (run.id,) in database.execute("SELECT run_uuid FROM runs").fetchall()
    kept = checkout / f"mlartifacts/{run.id}/artifacts/note.txt"
    assert kept.read_text() == "hello"
    mlflow.set_tracking_uri(None)
    with pytest.raises(UserError, match=r"Registered Model with name=autos not found"):
        located("models:/autos@champion")
    assert list(tmp_path.iterdir()) == [checkout]
    assert {path.name for path in checkout.iterdir()} == {
        ".work", "mlartifacts", "mlflow.db", "note.txt"
    }  # fmt: skip


@pytest.mark.parametrize("checkout", ["what? 50%"], indirect=True)
def test_a_copy_of_the_checkout_within_it_finds_the_store(checkout, monkeypatch):
    """As `dvc exp run --temp` makes one; from elsewhere, such a path cannot be said to MLflow."""
    copy = checkout / ".dvc/tmp/exps/copy"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(checkout))
    assert stored(Store().pipeline).info.status == "RUNNING"
    assert {path.name for path in checkout.iterdir()} == {".dvc", ".work", "mlflow.db"}
    monkeypatch.chdir("/")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(UserError, match=r"with \? or % in its path; .* MLFLOW_TRACKING_URI$"):
        Store()


def test_the_experiment_is_the_one_that_mlflows_variables_name(checkout, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "named")
    mine = Store()
    assert mine.experiment.name == "mine"
    assert stored(mine.pipeline).info.experiment_id == mine.experiment.experiment_id
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    ours = Store()
    assert ours.experiment.name == "autos"
    assert ours.pipeline.id != mine.pipeline.id
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", mine.experiment.experiment_id)
    assert Store().identity == mine.identity
    assert Store().pipeline.id == mine.pipeline.id
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "12345")
    with pytest.raises(UserError, match=r"^MLflow store sqlite:.* id=12345 exists$"):
        Store()


def test_a_deleted_experiment_is_told_with_the_command_that_restores_it(checkout):
    store = Store()
    store.client.delete_experiment(store.experiment.experiment_id)
    with pytest.raises(UserError, match=r"^MLflow store .* 'mine' was deleted; .*$") as error:
        Store()
    assert "\n" not in str(error.value)
    uri, command = re.search("`MLFLOW_TRACKING_URI=(.*) (mlflow .*)`", str(error.value)).groups()
    assert uri == store.uri
    done = CliRunner().invoke(mlflow.cli.cli, command.split()[1:])
    assert done.exit_code == 0, done.output
    assert Store().pipeline.id == store.pipeline.id


def overwrite(start: int, count: int):
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[start : start + count] = b"x" * len(content[start : start + count])
        path.write_bytes(content)

    return damage


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (overwrite(0, 99), "file is not a database"),
        (overwrite(0, 10**9), "file is not a database"),
        (overwrite(100, 10**9), "malformed"),
        (overwrite(4096, 10**9), "malformed"),
        (lambda path: os.truncate(path, 9000), "malformed|disk I/O error"),
        (replace_by_folder, "unable to open database file"),
    ],
)
def test_a_damaged_database_is_told_in_a_line_at_once_and_kept(checkout, capfd, damage, problem):
    path = checkout / "mlflow.db"
    damage(path)
    before = path.is_file() and path.read_bytes()
    with pytest.raises(UserError, match=f"{path}: [^\n]*({problem})[^\n]*; move it away to begin"):
        Store()
    assert (path.is_file() and path.read_bytes()) == before
    assert "Traceback" not in capfd.readouterr().err


def test_a_database_that_stays_locked_is_told_and_one_that_is_freed_is_used(checkout, monkeypatch):
    path = checkout / "mlflow.db"
    monkeypatch.setattr("stages._tracking.PATIENCE", 0.1)
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=f"^{path}: database is locked; end the process"):
            Store()
        monkeypatch.setattr("stages._tracking.PATIENCE", 60.0)
        freed = threading.Timer(0.3, other.rollback)
        freed.start()
        assert stored(Store().pipeline).info.status == "RUNNING"
        freed.join()


# --- runs ---


def test_children_know_their_parent_and_role(folder):
    parent = Store().pipeline
    stage = parent.child("prune", role="stage")
    cell = stage.child("prune/net/snip", role="cell")
    for run, name, role, above in (
        (stage, "prune", "stage", parent),
        (cell, "prune/net/snip", "cell", stage),
    ):
        found = stored(run)
        assert found.info.run_name == name and found.info.status == "RUNNING"
        assert found.data.tags["role"] == role
        assert found.data.tags["mlflow.parentRunId"] == above.id
    cell.end("FAILED")
    assert stored(cell).info.status == "FAILED"


def test_large_logs_arrive_whole(run):
    """MLflow takes 1,000 metrics and 100 parameters in a request."""
    curve = [(step, step / 7) for step in range(1, 2401)]
    single = {f"layer.{i}": i / 3 for i in range(100)}
    params = {f"train.p{i}": i for i in range(150)}
    tags = {"stage": "prune", "registered_model": "models:/autos/1"}
    run.log(params=params, metrics={"loss": curve, **single}, tags=tags)
    points = run.store.client.get_metric_history(run.id, "loss")
    assert [(point.step, point.value) for point in points] == curve
    found = stored(run).data
    assert {name: found.metrics[name] for name in single} == single
    assert found.params == {name: str(value) for name, value in params.items()}
    assert tags.items() <= found.tags.items()


def test_settings_are_logged_as_they_are_read(run):
    run.log(params=flatten(Settings(), "x."))
    assert stored(run).data.params == {
        "x.train.lr": "0.1",
        "x.train.milestones": "[60, 120]",
        "x.name": "net",
        "x.path": "data/x",
    }


def test_values_that_are_no_number_are_kept_as_such(run):
    run.log(metrics={"overlap": [(1, 0.5), (2, math.nan)], "count": 3, "curve": []})
    run.log()
    values = [point.value for point in run.store.client.get_metric_history(run.id, "overlap")]
    assert values[0] == 0.5 and math.isnan(values[1])
    assert stored(run).data.metrics["count"] == 3


def test_a_cell_is_logged_once_per_store(folder, run, monkeypatch):
    unit = folder / ".work/prune/net-snip-0123.safetensors"
    assert not Logged(run.store, unit).before()
    Logged(run.store, unit).remember(run)
    assert Logged(Store(), unit).before()
    assert not Logged(run.store, unit.with_name("net-snip-4567.safetensors")).before()

    copy = f"sqlite:///{shutil.copy(folder / 'mlflow.db', folder / 'copy.db')}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", copy)
    other = Store()
    assert other.identity != run.store.identity
    assert not Logged(other, unit).before()
    Logged(other, unit).remember(other.pipeline)
    assert Logged(other, unit).before()
    # As if the database had been deleted and made again under its name:
    other.client.rename_experiment(other.experiment.experiment_id, "old")
    assert not Logged(Store(), unit).before()


@pytest.mark.parametrize(
    "damaged", ["", "{}", "[]", "null", '{"store": {}}', '{"run_id": "1"}', "[" * 5000]
)
def test_a_damaged_note_of_a_cell_is_no_note(folder, run, damaged):
    unit = folder / ".work/prune/net-snip-damaged.safetensors"
    Logged(run.store, unit).remember(run)
    assert Logged(run.store, unit).before()
    marker = unit.with_suffix(".mlflow.json")
    marker.write_text(damaged)
    assert not Logged(run.store, unit).before()
    Logged(run.store, unit).remember(run)
    assert Logged(run.store, unit).before()


def test_a_changed_letter_in_a_note_does_not_lose_the_run(folder, run):
    unit = folder / ".work/prune/net-snip-changed.safetensors"
    Logged(run.store, unit).remember(run)
    marker = unit.with_suffix(".mlflow.json")
    marker.write_text(marker.read_text().replace(run.id, run.id[::-1]))
    assert not Logged(run.store, unit).before()


# --- stages ---


def stage_run(store: Store, name: str) -> mlflow.entities.Run:
    condition = f"tags.role = 'stage' and attributes.run_name = '{name}'"
    (found,) = store.client.search_runs([store.experiment.experiment_id], condition)
    return found


def test_a_stage_that_ends_well_leaves_a_record(folder):
    with Stage("good", Settings()) as stage:
        units = stage.progress(iter([("a", True), ("b", False), ("c", False)]), total=3)
        assert list(units) == ["a", "b", "c"]
        assert stored(stage.run).info.status == "RUNNING"
        stage.log_cell(Path(".work/good/a.safetensors"), "a", params={}, metrics={"x": 1})
        stage.log_cell(Path(".work/good/a.safetensors"), "a", params={}, metrics={"x": 1})
        stage.link_stages()
    found = stored(stage.run)
    assert found.info.status == stored(stage.store.pipeline).info.status == "FINISHED"
    assert found.data.metrics == {"units_computed": 2, "units_reused": 1}
    assert found.data.params["good.train.lr"] == "0.1"
    record = LoggedRun.load(Path("data/runs/good.json"))
    assert (record.run_id, record.store) == (stage.run.id, stage.store.identity)
    children = stage.store.client.search_runs(
        [stage.store.experiment.experiment_id], f"tags.mlflow.parentRunId = '{stage.run.id}'"
    )
    assert [child.data.metrics for child in children] == [{"x": 1}]
    assert stored(stage.store.pipeline).data.tags["stage.good"] == stage.run.id


def test_a_damaged_record_of_a_stage_is_named_and_not_linked(folder, capsys):
    Path("data/runs").mkdir(parents=True, exist_ok=True)
    Path("data/runs/lost.json").write_text("[]")
    with Stage("links", Settings()) as stage:
        stage.link_stages()
    Path("data/runs/lost.json").unlink()
    assert "warning: data/runs/lost.json: damaged" in capsys.readouterr().err
    tags = stored(stage.store.pipeline).data.tags
    assert tags["stage.links"] == stage.run.id and "stage.lost" not in tags


def test_a_stage_that_fails_is_marked_and_leaves_no_record(folder):
    with pytest.raises(UserError, match="no good"), Stage("bad", Settings()) as stage:
        raise UserError("no good")
    assert stage_run(stage.store, "bad").info.status == "FAILED"
    assert stored(stage.store.pipeline).info.status == "FAILED"
    assert not Path("data/runs/bad.json").exists()


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt])
def test_a_stage_that_is_interrupted_is_marked_as_killed(checkout, error):
    with pytest.raises(error), Stage("stopped", Settings()) as stage:
        raise error
    assert stage_run(stage.store, "stopped").info.status == "KILLED"
    assert stored(stage.store.pipeline).info.status == "KILLED"
    assert not Path("data/runs/stopped.json").exists()


def test_an_error_is_told_also_when_mlflow_is_gone_in_between(checkout):
    with pytest.raises(UserError, match=r"^no good$"), Stage("bad", Settings()) as stage:
        stage.store.client.delete_run(stage.run.id)
        overwrite(0, 10**9)(checkout / "mlflow.db")
        raise UserError("no good")
    with locked("bad"):
        pass


def test_runs_of_a_killed_stage_are_closed_by_the_next_one_and_no_others(checkout):
    code = (
        "import os, signal; from autos.config import Config; from stages._stage import Stage\n"
        "with Stage('killed', Config()) as stage:\n"
        "    stage.run.child('a cell', role='cell', tags=stage.tags)\n"
        "    print(stage.store.pipeline.id)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with Stage("beside", Settings()) as beside:
        done = subprocess.run(
            [sys.executable, "-uc", code], capture_output=True, text=True,
            env=environment(
                checkout,
                DVC_EXP_NAME="dead",
                MLFLOW_EXPERIMENT_NAME="mine",
                MLFLOW_TRACKING_URI=beside.store.uri,
            ),
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr
        experiment = beside.store.experiment.experiment_id
        others = beside.store.client.create_run(experiment, run_name="of somebody else")
        with Stage("next", Settings()) as stage:
            found = stage.store.client.search_runs([experiment])
            status = {(run.info.run_name, run.info.status) for run in found}
    assert stage.store.pipeline.id != done.stdout.strip()
    assert status == {
        ("dead", "KILLED"), ("killed", "KILLED"), ("a cell", "KILLED"),
        ("beside", "RUNNING"), ("next", "RUNNING"), ("of somebody else", "RUNNING"),
        (stored(stage.store.pipeline).info.run_name, "RUNNING"),
    }  # fmt: skip
    assert stored(Run(stage.store, others.info.run_id)).info.status == "RUNNING"
    for run in (beside.run, stage.run, stage.store.pipeline):
        assert stored(run).info.status == "FINISHED"


def test_a_stage_waits_for_another_run_of_itself_only(folder, capfd):
    entered = threading.Event()

    def second_run() -> None:
        with Stage("alone", Settings()):
            entered.set()

    thread = threading.Thread(target=second_run)
    with Stage("alone", Settings()), Stage("beside", Settings()):
        thread.start()
        told = ""
        while "alone: waiting for another run of this stage to end" not in told:
            told += capfd.readouterr().err
            time.sleep(0.01)
        assert not entered.wait(0.2)
    entered.wait()
    thread.join()


def test_a_server_that_does_not_answer_is_told_in_one_line(tmp_path):
    shutil.copy(ROOT / "profiles/smoke.yaml", tmp_path / "params.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "stages", "prepare"], cwd=tmp_path, capture_output=True, text=True,
        env=environment(
            tmp_path,
            MLFLOW_TRACKING_URI="http://127.0.0.1:9",
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="0",
        ),
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: MLflow store http://127.0.0.1:9: ")
    assert not (tmp_path / "data").exists()
