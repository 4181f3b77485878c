"""A file that the library wrote is read as it was written, or refused: never a damaged one used."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from fuzzing import REFUSED, altered, attempt, cases, damage, damaged
from hypothesis import given
from hypothesis import strategies as st

from autos.cli.inspection import inspect
from autos.grid.cell import MaskTable, ResultTable, Seconds
from autos.images.image_set import ImageSet
from autos.irp.survival import Survival, read_survival, write_survival
from autos.masks.mask import Mask
from autos.predictors.autos import AutoS
from autos.predictors.backbones import BACKBONES
from autos.predictors.lookup import Lookup
from autos.predictors.paper import PaperPredictor
from autos.storage.tensors import write_tensors
from autos.work.units import KIND, VERSION, read_result
from stages._tracking import LoggedRun


def plain(value):
    """A value in a form that compares: tensors and arrays by type, shape and digest."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        array = np.asarray(value.numpy() if isinstance(value, torch.Tensor) else value)
        return [str(array.dtype), array.shape, hashlib.sha256(array.tobytes()).hexdigest()]
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return value


def mask_of(path):
    mask, about = Mask.load(path)
    return plain({"keep": dict(mask.keep), "about": about})


def unit_of(path):
    result = read_result(path)
    return plain({"tensors": dict(result.tensors), "about": dict(result.about)})


def paper_of(path):
    predictor = PaperPredictor.load(path.parent)
    return plain({"state": predictor.state(), "about": predictor.about})


def autos_of(path):
    return dict(AutoS.load(path.parent).about)


def survival_of(path):
    return plain({name: vars(network) for name, network in read_survival(path).items()})


def images_of(path):
    ImageSet.load.cache_clear()
    images = ImageSet.load(path)
    splits = {s: vars(getattr(images, s)) for s in ("train", "validation", "test")}
    return plain({**splits, "about": images.about})


def record_of(kind):
    return lambda path: kind.load(path).model_dump()


READERS = {
    "mask.safetensors": mask_of,
    "unit.safetensors": unit_of,
    "autos.json": autos_of,
    "autos_paper.safetensors": paper_of,
    "autos_paper.json": paper_of,
    "masks.json": record_of(MaskTable),
    "results.json": record_of(ResultTable),
    "seconds.json": record_of(Seconds),
    "run.json": record_of(LoggedRun),
    "survival.zarr": survival_of,
    "images.zarr": images_of,
}
"""What reads each file of the folder below."""

FILES = [name for name in READERS if not name.endswith(".zarr")]
STORES = [name for name in READERS if name.endswith(".zarr")]


@pytest.fixture(scope="module")
def written(tmp_path_factory, image_store):
    """A folder with a file of every kind."""
    folder = tmp_path_factory.mktemp("written")
    torch.manual_seed(0)
    keep = {"a.weight": torch.rand(3, 5) < 0.5, "b.weight": torch.rand(7) < 0.5}
    Mask(keep).save(folder / "mask.safetensors", {"method": "snip", "density": 0.5, "seed": 1})
    tensors = {**keep, "start/a.weight": torch.randn(3, 5)}
    write_tensors(
        folder / "unit.safetensors",
        tensors,
        kind=KIND,
        version=VERSION,
        about={"kept": 9, "seconds": 0.5},
    )
    AutoS({"coefficients": {"path": 0.5, "unit": -0.25}, "sources": {}}).save(folder)
    about = {"backbone": "mlp", "inputs": ["weight"], "training": {"epochs": 1}, "sources": {}}
    PaperPredictor(BACKBONES["mlp"](1), Lookup(torch.rand(1, 33)), about).save(folder)
    cell = {"target": "net", "method": "snip", "density": 0.5, "seed": 0, "kind": "score"}
    mask = {"file": "a", "sha256": "b", "start": None, "start_sha256": None, "step": 0}
    counts = {"kept": 9, "total": 22}
    layers = {"layer_densities": {"a": 0.5}, "empty_layers": []}
    rows = [{**cell, **mask, **counts, **layers, "trained": False}]
    MaskTable(targets={"net": {}}, masks=rows).save(folder / "masks.json")
    figures = {
        "flops": 9,
        "dense_flops": 22,
        "train_loss": [1.5],
        "validation_accuracy": [0.5],
        "test_accuracy_before": 0.1,
        "test_accuracy": 0.75,
    }
    ResultTable(cells=[{**cell, **counts, **figures}]).save(folder / "results.json")
    Seconds(units={"net": 1.5}).save(folder / "seconds.json")
    LoggedRun(store={"uri": "sqlite:///mlflow.db"}, run_id="abc").save(folder / "run.json")
    network = Survival(
        np.arange(6, dtype=np.float32),
        np.ones(6, np.float32),
        np.zeros((6, 4), np.float32),
        np.arange(6, dtype=np.uint16) % 3,
        {
            "source": {"architecture": "lenet_5"},
            "layers": [{"name": "weight", "offset": 0, "shape": [2, 3]}],
            "densities": [0.5, 0.25],
            "rounds": [],
        },
    )
    write_survival(folder / "survival.zarr", {"one": network})
    shutil.copytree(image_store, folder / "images.zarr")
    return folder


@pytest.fixture(scope="module")
def whole(written):
    """What is read while nothing is damaged."""
    return {name: read(written / name) for name, read in READERS.items()}


def check_damage(written, whole, name, path, content):
    """Put other bytes into a file, and see that its reader refuses them or reads the same."""
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        for read in (READERS[name], inspect):
            found = attempt(read, written / name)
            assert read is inspect or found is REFUSED or found == whole[name]
    finally:
        path.write_bytes(before)


@pytest.mark.parametrize("name", FILES)
@cases(quick=12, share=0.03)
@given(data=st.data())
def test_a_damaged_file_is_refused(written, whole, name, data):
    path = written / name
    content = path.read_bytes()
    content = damaged(content, data.draw(damage(len(content))))
    check_damage(written, whole, name, path, content)


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".json")])
@cases(quick=6, share=0.02)
@given(data=st.data())
def test_a_file_of_other_json_is_refused(written, whole, name, data):
    path = written / name
    content = json.dumps(data.draw(altered(json.loads(path.read_text()))))
    check_damage(written, whole, name, path, content.encode())


@pytest.mark.parametrize("name", STORES)
@cases(quick=12, share=0.04)
@given(data=st.data())
def test_a_damaged_store_is_refused(written, whole, name, data):
    files = sorted(path for path in (written / name).rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    content = path.read_bytes()
    if path.suffix == ".json" and data.draw(st.booleans()):
        content = json.dumps(data.draw(altered(json.loads(content)))).encode()
    else:
        content = damaged(content, data.draw(damage(len(content))))
    check_damage(written, whole, name, path, content)


@pytest.mark.parametrize("name", STORES)
@cases(quick=6, share=0.01)
@given(data=st.data())
def test_a_store_with_a_missing_file_is_refused(written, whole, name, data):
    files = sorted(path for path in (written / name).rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    hidden = written / "hidden"
    path.rename(hidden)
    try:
        found = attempt(READERS[name], written / name)
        assert found is REFUSED or found == whole[name]
    finally:
        hidden.rename(path)
