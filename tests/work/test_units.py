"""A unit of work is computed once, and again when anything changes that determines its result."""

import re
from pathlib import Path

import pytest
import torch

from autos.compute import Hardware
from autos.config import Config
from autos.errors import UserError
from autos.irp.config import SourceConfig
from autos.irp.work import SourceWork
from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.storage.zarr_store import read_store, write_store
from autos.work.executor import run
from autos.work.units import Result, Unit, read_result


class Settings(Config):
    values: tuple[float, ...] = (1.0,)
    rate: float = 0.1
    fail: str | None = None


def double(settings: Settings) -> Result:
    """Leaves a line in the file `calls`; fails with the given message."""
    with Path("calls").open("a") as calls:
        calls.write(f"{settings.values}\n")
    if settings.fail == "bug":
        raise ZeroDivisionError
    if settings.fail:
        raise UserError(settings.fail)
    return Result({"x": 2 * torch.tensor(settings.values)}, {"rate": settings.rate})


def unit(name: str = "stage/a", inputs: dict | None = None, uses: tuple = (), **settings) -> Unit:
    return Unit(name, double, Settings(**settings), inputs or {}, uses)


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wrong(settings: Settings) -> Result:
    return Result({}, {})


def calls() -> int:
    return len(Path("calls").read_text().splitlines())


# --- results ---


def test_the_result_is_what_the_function_returned():
    first = unit(values=[1.5, 2], rate=0.25)
    first.compute()
    result = first.result()
    assert result.tensors["x"].tolist() == [3, 4] and result.about == {"rate": 0.25}
    assert read_result(first.path).about == result.about


def test_a_done_unit_is_not_computed_again():
    chain = [unit(f"stage/{value}", values=[value]) for value in (1, 2, 3)]
    assert [reused for _, reused in run([chain[:2]], workers=1)] == [False, False]
    assert calls() == 2
    assert [reused for _, reused in run([chain], workers=1)] == [True, True, False]
    assert calls() == 3


def test_its_file_is_named_after_it_and_its_key():
    first = unit("stage/net/snip/0.1/0")
    assert not first.done()
    first.compute()
    assert first.done()
    assert first.path == Path(f".work/stage/net-snip-0.1-0-{first.key[:16]}.safetensors")
    assert list(Path(".work").rglob("*.*")) == [first.path]


def test_a_damaged_or_missing_result_is_named():
    first = unit()
    with pytest.raises(UserError, match=f"^{re.escape(str(first.path))}: not found"):
        first.result()
    first.compute()
    first.path.write_bytes(first.path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"^{re.escape(str(first.path))}: damaged"):
        first.result()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_result_is_computed_again(workers):
    first, second = unit("stage/a", values=(1.0,)), unit("stage/b", values=(2.0,))
    list(run([[first], [second]], workers=workers))
    whole = [one.path.read_bytes() for one in (first, second)]
    for damaged in (whole[0][:-1], b"", whole[0][:-1] + b"?"):
        first.path.write_bytes(damaged)
        assert not first.done()
        found = run([[first], [second]], workers=workers)
        assert {one.name: reused for one, reused in found} == {"stage/a": False, "stage/b": True}
        assert [one.path.read_bytes() for one in (first, second)] == whole


def test_the_file_of_something_else_is_no_result(tmp_path):
    Mask({"w": torch.ones(2, dtype=torch.bool)}).save(tmp_path / "mask")
    with pytest.raises(UserError, match="mask: is not a unit of work but mask"):
        read_result(tmp_path / "mask")


# --- keys ---


def test_equal_units_have_equal_keys_whatever_they_are_called():
    assert unit("stage/a").key == unit("stage/b").key
    assert unit(inputs={"a": "1", "b": "2"}).key == unit(inputs={"b": "2", "a": "1"}).key


def test_settings_and_inputs_change_the_key():
    keys = {
        unit(**changes).key
        for changes in (
            {},
            {"values": [2.0]},
            {"values": [1.0, 1.0]},
            {"rate": 0.1 + 1e-16},
            {"inputs": {"images": "1"}},
            {"inputs": {"images": "2"}},
            {"inputs": {"mask": "1"}},
            {"inputs": {"images": "1", "mask": "1"}},
        )
    }
    assert len(keys) == 8


def test_the_code_that_is_used_changes_the_key():
    used: list[tuple[str, ...]] = [
        (),
        ("models.lenet_5",),
        ("models.resnet_cifar",),
        (CRITERIA["snip"].function.__module__,),
        (CRITERIA["grasp"].function.__module__,),
        ("autos.methods.criteria.grasp:score",),
        ("models.lenet_5", "autos.methods.criteria.snip"),
    ]
    keys = {unit(uses=uses).key for uses in used}
    assert len(keys) == len(used)


def test_another_function_changes_the_key():
    other = Unit("stage/a", wrong, Settings(), {})
    assert other.key != unit().key


# --- mistakes ---


def test_a_users_mistake_carries_the_name_of_the_unit_and_keeps_finished_ones():
    chain = [unit("stage/good"), unit("stage/bad", fail="too dense"), unit("stage/later", rate=1)]
    with pytest.raises(UserError, match=r"^stage/bad: too dense$"):
        list(run([chain], workers=1))
    assert [one.done() for one in chain] == [True, False, False]
    assert list(Path(".work").rglob("*.*")) == [chain[0].path]


def test_a_mistake_of_ours_stays_what_it_is():
    with pytest.raises(ZeroDivisionError):
        unit(fail="bug").compute()
    assert not Path(".work").exists()


# --- real units ---


def source(**changes) -> SourceConfig:
    settings = {
        "architecture": "lenet_5",
        "images": "tiny",
        "rounds": 3,
        "scoring": {"per_class": 5, "batch_size": 5, "batch_norm": "train"},
        "train": {
            "epochs": 1, "batch_size": 15, "optimizer": "adam", "lr": 1e-3, "schedule": "cosine",
        },
    }  # fmt: skip
    return SourceConfig(**settings | changes)


def keys(settings: SourceConfig, images: Path, hardware: Hardware | None = None) -> list[str]:
    work = SourceWork.of("a", settings, images, hardware or Hardware())
    return [unit.key for chain in work.chains() for unit in chain]


@pytest.mark.parametrize(
    ("changes", "hardware"),
    [
        ({"seed": 1}, {}),
        ({"criterion": "magnitude"}, {}),
        ({"width": 0.5}, {}),
        ({"architecture": "lenet_300_100"}, {}),
        ({"final_density": 0.02}, {}),
        ({}, {"precision": "bf16-mixed"}),
    ],
)
def test_every_round_of_irp_is_new_when_its_source_changes(image_store, changes, hardware):
    first, again = keys(source(), image_store), keys(source(), image_store)
    changed = keys(source(**changes), image_store, Hardware(**hardware))
    assert first == again
    assert len(set(first)) == 4
    assert not {*first} & {*changed}


def test_other_images_make_every_round_new(image_store, tmp_path):
    arrays, about = read_store(image_store, kind="image set", version=1)
    made = []
    for images in arrays["train/images"], arrays["train/images"], 255 - arrays["train/images"]:
        content = {**arrays, "train/images": images}
        write_store(tmp_path / "a.zarr", content, kind="image set", version=1, about=about)
        made.append({*keys(source(), tmp_path / "a.zarr")})
    assert made[0] == made[1] and not made[0] & made[2]
