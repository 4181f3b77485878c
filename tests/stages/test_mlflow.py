"""Predictors in MLflow's registry: what is registered, and what is said when one is not there."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import mlflow
import pytest
import torch
from mlflow import MlflowClient

from autos.config import Config
from autos.errors import UserError
from autos.network.features import FEATURES
from autos.predictors.autos import AutoS
from autos.predictors.backbones import BACKBONES
from autos.predictors.paper import PaperPredictor
from stages._registry import REQUIREMENTS, register
from stages._stage import Stage

ROOT = Path(__file__).parents[2]
ONE, TWO, THREE = "one/predictor", "two/predictor", "three/predictor"
"""The first and the third have the same predictor of the paper, and another AutoS."""


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Iterator[Path]:
    """A folder with an MLflow store in which predictors were registered, one of them thrice."""
    folder = tmp_path_factory.mktemp("repository")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_ROOT", str(folder))
        patch.setenv("DVC_EXP_NAME", "first")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(folder)
        for seed, path, name in ((0, 1.0, ONE), (1, 1.0, TWO), (0, 2.0, THREE)):
            torch.manual_seed(seed)
            about = {"backbone": "mlp", "inputs": ["gradient"]}
            PaperPredictor.compiled(BACKBONES["mlp"](1), about).save(folder / name)
            AutoS({"coefficients": dict.fromkeys(FEATURES, path)}).save(folder / name)
        for name in (ONE, ONE, TWO, THREE, ONE):
            with Stage("train_predictor", Config()) as stage:
                register(stage, AutoS.load(name), PaperPredictor.load(name))
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
    for kind, saved in {AutoS: (ONE, THREE), PaperPredictor: (ONE, TWO)}.items():
        digests = {
            version.version: version.tags["sha256"]
            for version in client.search_model_versions(f"name = '{kind.name}'")
        }
        expected = {n: kind.digest(here / name) for n, name in enumerate(saved, start=1)}
        assert digests == expected
        assert client.get_model_version_by_alias(kind.name, "champion").version == 1


def test_weights_are_asked_for_also_where_gradients_are_the_only_input(here):
    info = mlflow.models.get_model_info("models:/autos_paper@champion")
    assert info.signature.inputs.input_names() == ["weight", "gradient", "layer"]
    assert info.signature.inputs.required_input_names() == ["weight", "gradient"]


@pytest.mark.parametrize(
    ("kind", "place", "name"),
    [
        (AutoS, "@champion", ONE),
        (AutoS, "/1", ONE),
        (AutoS, "/2", THREE),
        (PaperPredictor, "@champion", ONE),
        (PaperPredictor, "/2", TWO),
    ],
)
def test_it_loads_by_alias_and_version_where_the_store_is(here, kind, place, name):
    loaded, saved = kind.load(f"models:/{kind.name}{place}"), kind.load(here / name)
    assert loaded.about == saved.about
    if kind is PaperPredictor:
        values = {"weight": torch.randn(100), "gradient": torch.randn(100)}
        assert torch.equal(loaded.predict(values), saved.predict(values))


def test_it_loads_from_elsewhere_with_the_address_of_the_store(here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{here / 'mlflow.db'}")
    assert PaperPredictor.load("models:/autos_paper@champion").inputs == ["gradient"]
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
        AutoS.load(uri)


def test_where_there_is_no_store_none_is_made(here, tmp_path, monkeypatch):
    folder = tmp_path / "some where"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match=r"there is no MLflow store .*set MLFLOW_TRACKING_URI"):
        AutoS.load("models:/autos@champion")
    assert not list(folder.iterdir())


def test_a_server_that_does_not_answer_is_named_in_a_line(tmp_path):
    """In a process of its own: MLflow reads the number of retries once."""
    with socket.socket() as probe:  # bound, not listening
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
        code = (
            "from autos import AutoS, UserError\n"
            "try: AutoS.load('models:/autos@champion')\n"
            "except UserError as error: print(error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={"MLFLOW_TRACKING_URI": address, "HOME": str(tmp_path)},
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"models:/autos@champion in the MLflow store {address}: ")


def test_the_models_require_all_that_their_code_imports():
    """Also within functions, but for what is needed only to train, or is there to load them."""
    graph = grimp.build_graph("autos", include_external_packages=True, cache_dir=None)
    used = set()
    for predictor in ("autos.predictors.autos", "autos.predictors.paper"):
        used |= graph.find_upstream_modules(predictor)
    needed = {module for module in used if not module.startswith("autos")}
    needed -= {*sys.stdlib_module_names, "mlflow", "lightning", "zarr"}
    distributions = {"pyyaml" if name == "yaml" else name for name in needed}
    assert {"torch", "torchvision"} <= distributions <= set(REQUIREMENTS)
