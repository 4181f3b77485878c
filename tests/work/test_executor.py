"""Units run in order and side by side, and give the same bytes in one process and in several."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import psutil
import pytest
import torch

from autos.compute import Hardware
from autos.config import Config
from autos.errors import LostWorkerError, UserError
from autos.irp.config import SourceConfig
from autos.irp.work import SourceWork
from autos.work.executor import run
from autos.work.units import Result, Unit

BOTH = pytest.mark.parametrize("workers", [1, 2])
PATIENCE = 600
"""Seconds after which a test gives up: far more than anything here takes on a busy machine."""
FORKSERVER = multiprocessing.get_context("forkserver")


class Step(Config):
    """What a unit of these tests does, one after the other."""

    needs: tuple[Path, ...] = ()
    """Must be there already."""
    awaits: tuple[Path, ...] = ()
    """Will be there soon."""
    touches: Path | None = None
    rests: float = 0.0
    """Seconds."""
    problem: str | None = None
    kills: bool = False
    value: float = 0.0


def act(step: Step) -> Result:
    for path in step.needs:
        if not path.exists():
            raise UserError(f"{path} is not there")
    if step.touches:
        step.touches.write_text(str(os.getpid()))
    deadline = time.monotonic() + PATIENCE
    while not all(path.exists() for path in step.awaits):
        if time.monotonic() > deadline:
            raise UserError("waited in vain")
        time.sleep(0.01)
    time.sleep(step.rests)
    if step.problem:
        raise UserError(step.problem)
    if step.kills:
        os.kill(os.getpid(), signal.SIGKILL)
    about = {"threads": torch.get_num_threads(), "process": os.getpid()}
    return Result({"x": torch.tensor(step.value)}, about)


def unit(name: str, **step) -> Unit:
    return Unit(f"stage/{name}", act, Step(**step), {})


@pytest.fixture(scope="module", autouse=True)
def quick_workers():
    """As the stages do: workers are forked from a process that has imported what they need."""
    FORKSERVER.set_forkserver_preload(["autos.irp.work"])


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)


@BOTH
def test_a_chain_runs_in_its_order(workers):
    first = unit("a", value=1)
    second = unit("b", needs=[first.path])
    third = unit("c", needs=[first.path, second.path])
    done = list(run([[first, second, third]], workers=workers))
    assert done == [(first, False), (second, False), (third, False)]


def test_chains_run_side_by_side():
    """Each first unit ends only once the other one has begun."""
    chains = [
        [unit("a1", touches="a", awaits=["b"]), unit("a2")],
        [unit("b1", touches="b", awaits=["a"]), unit("b2")],
    ]
    done = [one.name for one, _ in run(chains, workers=2)]
    assert sorted(done) == ["stage/a1", "stage/a2", "stage/b1", "stage/b2"]
    assert done.index("stage/a1") < done.index("stage/a2")
    assert Path("a").read_text() != Path("b").read_text()


def test_a_long_chain_does_not_hold_up_the_other_ones():
    """The first unit ends only once everything else has."""
    others = [[unit(f"{i}", touches=f"{i}")] for i in range(4)]
    first = unit("slow", awaits=[f"{i}" for i in range(4)])
    done = [one.name for one, _ in run([[first], *others], workers=2)]
    assert done[-1] == "stage/slow" and len(done) == 5


@BOTH
def test_finished_units_are_told_and_not_computed_again(workers):
    chain = [unit(f"{i}", value=i) for i in range(4)]
    assert list(run([chain[:2]], workers=1)) == [(chain[0], False), (chain[1], False)]
    before = [one.path.stat().st_mtime_ns for one in chain[:2]]
    expected = [(one, True) for one in chain[:2]] + [(one, False) for one in chain[2:]]
    assert list(run([chain], workers=workers)) == expected
    assert [one.path.stat().st_mtime_ns for one in chain[:2]] == before
    assert list(run([chain], workers=workers)) == [(one, True) for one in chain]


@BOTH
def test_every_computation_has_one_thread(workers):
    torch.set_num_threads(2)
    try:
        one = unit("a")
        list(run([[one]], workers=workers))
        assert one.result().about["threads"] == 1
        assert (one.result().about["process"] == os.getpid()) == (workers == 1)
    finally:
        torch.set_num_threads(1)


@BOTH
def test_no_chains_are_no_work(workers):
    assert list(run([], workers=workers)) == []
    assert list(run([[], []], workers=workers)) == []


@BOTH
def test_a_users_mistake_names_its_unit_and_finished_ones_stay(workers):
    good, bad, later = unit("good"), unit("bad", problem="too dense"), unit("later", value=1)
    with pytest.raises(UserError, match=r"^stage/bad: too dense$"):
        list(run([[good, bad, later]], workers=workers))
    assert [one.done() for one in (good, bad, later)] == [True, False, False]


def test_work_under_way_beside_a_mistake_is_finished_and_kept():
    """The other unit begins before the mistake and ends some time after it."""
    bad = unit("bad", touches="bad", awaits=["good"], problem="too dense")
    good = unit("good", touches="good", awaits=["bad"], rests=0.3)
    with pytest.raises(UserError, match="too dense"):
        list(run([[bad], [good]], workers=2))
    assert good.done() and not bad.done()


def test_a_killed_worker_is_an_error_in_one_line_and_finished_units_stay():
    good, killed, later = unit("good"), unit("killed", kills=True), unit("later", value=1)
    with pytest.raises(
        LostWorkerError, match=r"worker process ended .* when memory runs out"
    ) as error:
        list(run([[good, killed], [later]], workers=2))
    assert "\n" not in str(error.value)
    assert good.done() and not killed.done()
    assert list(run([[good]], workers=2)) == [(good, True)]


def stuck() -> None:
    """What the process that is killed does: two units that never end."""
    FORKSERVER.set_forkserver_preload(["autos.work.units"])
    chains = [[unit(name, touches=name, awaits=["never"])] for name in ("a", "b")]
    list(run(chains, workers=2))


def test_workers_end_by_themselves_when_their_parent_is_killed():
    parent = FORKSERVER.Process(target=stuck)
    parent.start()
    deadline = time.monotonic() + PATIENCE
    while not all(Path(name).exists() and Path(name).read_text() for name in ("a", "b")):
        assert parent.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    workers = [psutil.Process(int(Path(name).read_text())) for name in ("a", "b")]
    assert len({parent.pid, *(worker.pid for worker in workers)}) == 3
    parent.kill()
    parent.join()
    alive = psutil.wait_procs(workers, timeout=PATIENCE)[1]
    for worker in alive:
        worker.kill()
    assert not alive


@pytest.fixture
def sources(image_store) -> list[list[Unit]]:
    """Real units: weights and gradients of three networks at their initialisation."""
    common = {
        "images": "tiny",
        "scoring": {"per_class": 15, "batch_size": 20, "batch_norm": "train"},
        "train": {
            "epochs": 1, "batch_size": 15, "optimizer": "adam", "lr": 1e-3, "schedule": "cosine",
        },
    }  # fmt: skip
    networks = {
        "a": {"architecture": "lenet_300_100"},
        "b": {"architecture": "lenet_300_100", "seed": 1},
        "c": {"architecture": "resnet_20", "width": 0.25},
    }
    return [
        [SourceWork.of(name, SourceConfig(**network, **common), image_store, Hardware()).start]
        for name, network in networks.items()
    ]


def test_one_process_and_two_give_the_same_bytes(sources, tmp_path, monkeypatch):
    contents = []
    for workers in (1, 2):
        folder = tmp_path / f"{workers}"
        folder.mkdir()
        monkeypatch.chdir(folder)
        list(run(sources, workers=workers))
        files = sorted(folder.glob(".work/irp/*.safetensors"))
        contents.append({file.name: file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3 and len(set(contents[0].values())) == 3
