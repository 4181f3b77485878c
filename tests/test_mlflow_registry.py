"""Predictors in MLflow's registry: what is registered, and what is said when one is not there."""

import ast
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient

from models.autos import BACKBONES
from pipeline import fingerprint
from pipeline.autos import FEATURES, AutoS
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.predictor import Predictor
from stages._registry import REQUIREMENTS, register
from stages._stage import Stage

ROOT = Path(__file__).parents[1]
ONE, TWO, THREE = "one/predictor", "two/predictor", "three/predictor"
"""The third differs from the first in our predictor alone."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Path]:
    """A folder with an MLflow store in which predictors were registered, one of them thrice."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("DVC_EXP_NAME", "first")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for package in ("pipeline", "models", "stages"):
            (folder / package).symlink_to(ROOT / package)
        patch.chdir(folder)
        for seed, path, name in ((0, 1.0, ONE), (1, 1.0, TWO), (0, 2.0, THREE)):
            torch.manual_seed(seed)
            about = {"backbone": "mlp", "inputs": ["gradient"]}
            Predictor.compiled(BACKBONES["mlp"](1), about).save(folder / name)
            AutoS({"coefficients": dict.fromkeys(FEATURES, path)}).save(folder / name)
        for name in (ONE, ONE, TWO, THREE, ONE):
            with Stage("train_predictor", Config()) as stage:
                register(stage, Path(name))
        yield folder
    mlflow.set_tracking_uri(None)


@pytest.fixture
def here(store, monkeypatch) -> Path:
    """That folder as the current one, in a session in which nobody has set anything."""
    mlflow.set_tracking_uri(None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(store)
    return store


def test_a_predictor_is_one_version_and_the_champion_is_the_last_that_was_trained(here):
    client = MlflowClient()
    digests = {
        version.version: (version.tags["sha256"], version.tags["autos_sha256"])
        for version in client.search_model_versions("name = 'autos'")
    }
    assert digests == {
        number: (Predictor.digest(here / name), AutoS.digest(here / name))
        for number, name in enumerate((ONE, TWO, THREE), start=1)
    }
    assert client.get_model_version_by_alias("autos", "champion").version == 1


def test_weights_are_asked_for_also_where_gradients_are_the_only_input(here):
    info = mlflow.models.get_model_info("models:/autos@champion")
    assert info.signature.inputs.input_names() == ["weight", "gradient", "layer"]
    assert info.signature.inputs.required_input_names() == ["weight", "gradient"]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("models:/autos@champion", ONE),
        ("models:/autos/1", ONE),
        ("models:/autos/2", TWO),
        ("models:/autos/3", THREE),
    ],
)
def test_it_loads_by_alias_and_version_where_the_store_is(here, uri, name):
    loaded, saved = Predictor.load(uri), Predictor.load(here / name)
    assert loaded.about == saved.about
    values = {"weight": torch.randn(100), "gradient": torch.randn(100)}
    assert torch.equal(loaded.predict(values), saved.predict(values))
    assert AutoS.load(uri).about == AutoS.load(here / name).about


def test_it_loads_from_elsewhere_with_the_address_of_the_store(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'mlflow.db'}")
    assert Predictor.load("models:/autos@champion").inputs == ["gradient"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("models:/auto@champion", "Registered Model with name=auto not found"),
        ("models:/autos@best", "Registered model alias best not found"),
        ("models:/autos/7", r"\(name=autos, version=7\) not found"),
        ("models:autos", "Not a proper models:/ URI"),
    ],
)
def test_a_model_that_is_not_there_is_named_with_the_store(here, uri, problem):
    problem = f"^{uri} in the MLflow store sqlite:///{here}/mlflow.db: [^\n]*{problem}[^\n]*$"
    with pytest.raises(UserError, match=problem):
        Predictor.load(uri)


def test_where_there_is_no_store_none_is_made(here, tmp_path, monkeypatch):
    folder = tmp_path / "some where"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"there is no MLflow store .*set MLFLOW_TRACKING_URI"):
        Predictor.load("models:/autos@champion")
    assert not list(folder.iterdir())


def test_a_server_that_does_not_answer_is_named_in_a_line(tmp_path):
    """In a process of its own: MLflow reads the number of retries once."""
    with socket.socket() as probe:  # bound, not listening
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        code = (
            "from pipeline import Predictor, UserError\n"
            "try: Predictor.load('models:/autos@champion')\n"
            "except UserError as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": address, "HOME": str(tmp_path)},
            cwd=tmp_path, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"models:/autos@champion in the MLflow store {address}: ")


def test_the_model_requires_all_that_its_code_imports():
    """All packages that are imported on the way from the predictor, also within functions.

    The package `pipeline` itself imports nothing before it is asked for.
    """
    project, needed, todo = {}, set(), ["pipeline.predictor", "models"]
    while todo:
        module = todo.pop()
        if module in project:
            continue
        project[module] = fingerprint.imports(module)
        todo += project[module]
        for node in ast.walk(fingerprint._tree(module)):
            if isinstance(node, ast.Import):
                needed |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                needed.add(node.module.split(".")[0])
    needed -= {*sys.stdlib_module_names, "pipeline", "models", "mlflow"}  # MLflow loads it
    assert {"torch", "torchvision"} <= needed <= set(REQUIREMENTS)
