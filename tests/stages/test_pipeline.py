"""The real pipeline, end to end in a copy of the repository, on the `smoke` profile."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas
import psutil
import pytest
import torch
import yaml
from mlflow import MlflowClient
from PIL import Image

from autos.grid.cell import Seconds
from autos.masks.mask import Mask
from autos.methods import METHODS
from autos.network.features import feature_table
from autos.predictors import PREDICTORS
from autos.predictors.autos import AutoS
from autos.predictors.paper import PaperPredictor
from autos.storage.tensors import read_tensors
from stages._tidy import main as tidy

ROOT = Path(__file__).parents[2]
TIMES_DIFFER = {"data/seconds", "data/runs"}
FEW = ["snip", "autos", "imp_rewinding", "gem_miner", "rigl"]
"""Methods of every kind, for all tests but the last."""
IMAGES = {"kind": "image_folder", "path": "pictures", "validation": 0.2, "test": 0.2, "seed": 0}
RECIPE = {"epochs": 1, "batch_size": 32, "optimizer": "adam", "lr": 2e-3, "schedule": "cosine"}
SMALL = {
    "prepare__images": {"pictures": IMAGES},
    "irp__sources__lenet_300_100__images": "pictures",
    "irp__sources__lenet_300_100__train": RECIPE,
    "prune__methods": FEW,
    "prune__targets": {"lenet_5": {"architecture": "lenet_5", "width": 0.5, "images": "pictures"}},
    "finetune__recipes": {"lenet_5": RECIPE},
}
"""Parameters that make the smoke profile smaller still, on pictures of the workspace's own."""
MESSAGE = "lower the learning rate"
"""Words of an error that is raised where all networks are trained."""
CELLS = 2 * len(FEW)
"""Masks of the smoke profile with these: one target, density and seed, each mask shuffled, too."""


class Workspace:
    """A copy of the repository's files in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        for name in listed.stdout.splitlines():
            if (ROOT / name).is_file() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        shutil.copy2(ROOT / "profiles/smoke.yaml", folder / "params.yaml")
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        for committed in ("metrics.json", "accuracy.csv", "accuracy.png", "report.md"):
            (folder / "data/report" / committed).unlink(missing_ok=True)
        rng = np.random.default_rng(0)
        for label in range(5):
            (folder / f"pictures/{label}").mkdir(parents=True)
            for i in range(80):
                picture = rng.integers(0, 50 * (label + 1), (28, 28), np.uint8)
                Image.fromarray(picture).save(folder / f"pictures/{label}/{i}.png")

    @property
    def env(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "DVC"))}
        return inherited | {
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
            "DVC_SITE_CACHE_DIR": str(self.folder / ".site"),
            "DVC_NO_ANALYTICS": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PYTHONPATH": str(self.folder / "pipeline"),
        }

    def start(self, *command: str) -> subprocess.Popen:
        with (self.folder / "log.txt").open("a") as log:
            return subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def repro(self) -> str:
        return self.run("dvc", "repro")

    def edit_params(self, **changes: object) -> None:
        """Set values by dotted key with "__" for the dot."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for key, value in changes.items():
            *sections, last = key.split("__")
            section = params
            for name in sections:
                section = section[name]
            section[last] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def files(self) -> dict[str, bytes]:
        """All outputs that are to be the same in every run."""
        found = {}
        for path in sorted((self.folder / "data").rglob("*")):
            name = str(path.relative_to(self.folder))
            if path.is_file() and not name.startswith(tuple(TIMES_DIFFER)):
                found[name] = path.read_bytes()
        return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Workspace:
    """An unbroken run with two worker processes."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"))
    workspace.edit_params(compute__jobs=2, **SMALL)
    workspace.repro()
    return workspace


def wait_for(workspace: Workspace, pattern: str, process: subprocess.Popen) -> None:
    while not list((workspace.folder / ".work").glob(pattern)):
        assert process.poll() is None, (workspace.folder / "log.txt").read_text()
        time.sleep(0.02)


def processes_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] == str(folder):
            found.append(process)
    return found


def test_killed_runs_end_with_the_same_files_as_an_unbroken_one(finished, tmp_path):
    """Everything is killed during irp, then dvc alone during finetune; it runs serially, too.

    In between, a message of the code in which all networks are trained changes.
    """
    broken = Workspace(tmp_path)
    broken.edit_params(compute__jobs=1, **SMALL)

    process = broken.start("dvc", "repro")
    wait_for(broken, "irp/*round_02*.safetensors", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    rounds = {
        path.name: path.stat().st_mtime_ns for path in broken.folder.glob(".work/irp/*round*")
    }
    assert not (broken.folder / "data/survival.zarr").exists()

    loop = broken.folder / "pipeline/autos/training/loop.py"
    source = loop.read_text()
    assert MESSAGE in source
    loop.write_text(source.replace(MESSAGE, "in other words"))
    process = broken.start("dvc", "repro")
    wait_for(broken, "finetune/*snip*.safetensors", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for orphan in processes_in(broken.folder):
        orphan.kill()
    trained = {
        path.name: path.stat().st_mtime_ns for path in broken.folder.glob(".work/finetune/*s")
    }
    assert 0 < len(trained) < CELLS + 1
    assert not (broken.folder / "data/finetuned/results.json").exists()

    broken.repro()
    kept = {path.name: path.stat().st_mtime_ns for path in broken.folder.glob(".work/*/*")}
    assert rounds.items() <= kept.items(), "a finished IRP round was computed again"
    assert trained.items() <= kept.items(), "a finished training was computed again"
    assert broken.files() == finished.files()


def test_outputs_are_complete(finished):
    masks = json.loads((finished.folder / "data/masks/masks.json").read_text())["masks"]
    cells = json.loads((finished.folder / "data/finetuned/results.json").read_text())["cells"]
    assert len(masks) == CELLS
    assert {cell["method"] for cell in cells} == {m["method"] for m in masks} | {"dense"}
    for mask in masks:
        assert mask["kept"] == round(mask["density"] * mask["total"])
        assert (finished.folder / "data/masks" / mask["file"]).exists()
    report = finished.folder / "data/report"
    for name in ("accuracy", "layer_densities", "paper_map", "survival"):
        assert (report / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"({name}.png)" in (report / "report.md").read_text()
    seconds = Seconds.load(finished.folder / "data/seconds/prune.json").units
    assert len(seconds) == CELLS
    assert {name.endswith("shuffle") for name, value in seconds.items() if value == 0} == {True}
    seconds = Seconds.load(finished.folder / "data/seconds/finetune.json").units
    assert len(seconds) == CELLS + 1 and min(seconds.values()) > 0


def test_pruned_weights_of_trained_networks_are_exactly_zero(finished):
    masks = json.loads((finished.folder / "data/masks/masks.json").read_text())["masks"]
    for entry in masks:
        mask, _ = Mask.load(finished.folder / "data/masks" / entry["file"])
        state, _ = read_tensors(
            finished.folder / "data/finetuned" / entry["file"], kind="trained network", version=1
        )
        for layer, keep in mask.keep.items():
            assert (state[layer][~keep] == 0).all()
            # What RigL has grown last was not trained yet.
            assert (state[layer][keep] != 0).all() or entry["method"] == "rigl"


def test_training_goes_on_from_where_a_method_says(finished):
    masks = json.loads((finished.folder / "data/masks/masks.json").read_text())["masks"]
    entries = {(m["method"], m["check"]): m for m in masks}
    cells = json.loads((finished.folder / "data/finetuned/results.json").read_text())["cells"]
    cells = {(cell["method"], cell["check"]): cell for cell in cells}
    assert entries["snip", None]["start"] is None
    rewound, searched, trained = (
        entries[name, None] for name in ("imp_rewinding", "gem_miner", "rigl")
    )
    assert rewound["step"] > 0 and searched["step"] == 0 and trained["trained"]
    for entry in (rewound, searched, trained):
        assert (finished.folder / "data/masks" / entry["start"]).exists()
    # RigL's network is final: nothing is trained, and its shuffled mask begins from the start.
    cell = cells["rigl", None]
    assert cell["train_loss"] == [] and cell["test_accuracy"] == cell["test_accuracy_before"]
    assert len(cells["rigl", "shuffle"]["train_loss"]) == 1
    assert trained["cost"]["epochs"] == 1 and entries["snip", None]["cost"]["epochs"] < 0.1


def test_no_pickle_is_among_the_outputs(finished):
    for path in finished.folder.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            assert path.suffix not in (".pkl", ".pickle", ".pt", ".pth", ".ckpt"), path
            assert path.read_bytes()[:2] != b"\x80\x04", path


@pytest.fixture(scope="module")
def client(finished) -> MlflowClient:
    return MlflowClient(f"sqlite:///{finished.folder / 'mlflow.db'}")


def runs(client: MlflowClient, role: str) -> list:
    experiment = client.get_experiment_by_name("autos")
    return client.search_runs([experiment.experiment_id], f"tags.role = '{role}'", max_results=999)


def test_mlflow_holds_the_tree_of_runs(client):
    (pipeline,) = runs(client, "pipeline")
    stages = {run.info.run_name: run for run in runs(client, "stage")}
    assert set(stages) == {"prepare", "irp", "train_predictor", "prune", "finetune", "evaluate"}
    for name, run in stages.items():
        assert run.data.tags["mlflow.parentRunId"] == pipeline.info.run_id
        assert run.info.status == "FINISHED"
        assert pipeline.data.tags[f"stage.{name}"] == run.info.run_id
    assert pipeline.info.status == "FINISHED"
    parents = [run.data.tags["mlflow.parentRunId"] for run in runs(client, "cell")]
    assert parents.count(stages["irp"].info.run_id) == 1
    assert parents.count(stages["prune"].info.run_id) == CELLS
    assert parents.count(stages["finetune"].info.run_id) == CELLS + 1


def test_mlflow_cells_can_be_compared(client):
    cells = [run for run in runs(client, "cell") if run.data.tags["stage"] == "finetune"]
    keys = {frozenset(run.data.params) for run in cells}
    assert len(keys) == 1
    assert {"target", "method", "density", "seed", "recipe.lr"} <= next(iter(keys))
    for run in cells:
        assert 0 <= run.data.metrics["test_accuracy"] <= 1
        assert {"kept", "total", "flops", "seconds"} <= set(run.data.metrics)
        found_trained = (run.data.params["method"], run.data.params["check"]) == ("rigl", "None")
        for curve in ("train_loss", "validation_accuracy")[found_trained:]:
            points = client.get_metric_history(run.info.run_id, curve)
            assert [point.step for point in points] == [1]
    (irp,) = [run for run in runs(client, "cell") if run.data.tags["stage"] == "irp"]
    assert len(client.get_metric_history(irp.info.run_id, "density")) == 3


def test_mlflow_holds_report_and_plots(client):
    (evaluate,) = [run for run in runs(client, "stage") if run.info.run_name == "evaluate"]
    names = {Path(file.path).name for file in client.list_artifacts(evaluate.info.run_id, "report")}
    assert {"report.md", "metrics.json", "accuracy.png", "paper_map.png"} <= names


# --- the registered models ---

MODELS = {
    "autos": {
        "path": [0.1, -2.0, 3.0, 0.0, 1.0],
        "unit": [0.0, 0.5, -0.5, 1.0, 2.0],
        "step": [1.0, 0.0, -1.0, 0.5, 0.25],
        "growth": [-1.0, 1.0, 0.0, 0.5, -0.5],
    },
    "autos_paper": {
        "weight": [0.0, 0.5, -2.0, 1.0, 0.1],
        "gradient": [0.1, -0.2, 0.3, 0.0, -1.0],
        "layer": ["fc1.weight"] * 3 + ["fc2.weight"] * 2,
    },
}
"""Columns for each, in which layer comes after layer."""

each_model = pytest.mark.parametrize("name", MODELS)


def predicted(workspace: Workspace, name: str, columns: dict[str, list]) -> list[float]:
    """What the library gives for the columns."""
    folder = workspace.folder / "data/predictor"
    values = {key: torch.tensor(column) for key, column in columns.items() if key != "layer"}
    if name == "autos":
        return AutoS.load(folder).log_odds(torch.stack(list(values.values()))).tolist()
    layer = columns["layer"]
    sizes = [layer.count(name) for name in dict.fromkeys(layer)]
    return PaperPredictor.load(folder).predict(values, sizes).tolist()


def mlflow_env(workspace: Workspace) -> dict[str, str]:
    """For a process elsewhere that uses the workspace's MLflow store, and not its code."""
    env = workspace.env | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{workspace.folder / 'mlflow.db'}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    env.pop("PYTHONPATH")
    return env


def test_registered_models_predict_outside_the_repository(finished, client, tmp_path):
    code = f"""
import json, sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "")]
sys.path = [p for p in sys.path if "__editable__" not in p and p != {str(ROOT / "pipeline")!r}]
import mlflow, pandas
for name, columns in {MODELS}.items():
    model = mlflow.pyfunc.load_model(f"models:/{{name}}@champion")
    table = pandas.DataFrame(columns)
    numbers = [column for column in table if column != "layer"]
    print(model.predict(table.astype(dict.fromkeys(numbers, "float32")))["score"].tolist())
import autos
print(autos.__file__)
assert not {{"lightning", "dvc", "zarr", "torchmetrics"}} & set(sys.modules), "not required"
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=mlflow_env(finished), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *scores, where = done.stdout.strip().splitlines()
    assert "mlartifacts" in where, "the code came from the repository, not from the model"
    for name, found in zip(MODELS, scores, strict=True):
        expected = predicted(finished, name, MODELS[name])
        assert json.loads(found) == pytest.approx(expected, abs=1e-6)
        assert client.get_model_version_by_alias(name, "champion").tags["sha256"]


@each_model
def test_registered_model_describes_its_input_and_has_an_example(finished, monkeypatch, name):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_env(finished)["MLFLOW_TRACKING_URI"])
    signature = mlflow.models.get_model_info(f"models:/{name}@champion").signature
    needed = [column for column in MODELS[name] if column != "layer"]
    assert signature.inputs.input_names() == list(MODELS[name])
    assert signature.inputs.required_input_names() == needed
    assert signature.outputs.input_names() == ["score"]
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    example = model.input_example
    assert list(example.columns) == list(MODELS[name]) and len(example) == 5
    expected = predicted(finished, name, {key: example[key].tolist() for key in example})
    assert model.predict(example)["score"].tolist() == pytest.approx(expected, abs=1e-6)
    mixed = model.predict(example.iloc[[3, 0, 4, 1, 2]])["score"].tolist()
    assert mixed == pytest.approx([expected[i] for i in (3, 0, 4, 1, 2)], abs=1e-6)
    with pytest.raises(mlflow.MlflowException, match=rf"missing inputs .*'{needed[-1]}'"):
        model.predict(example[needed[:1]])


def test_registered_autos_takes_the_table_of_a_network(finished, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_env(finished)["MLFLOW_TRACKING_URI"])
    network = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    batches = [(torch.randn(8, 6), torch.randint(3, (8,)))]
    table = pandas.DataFrame(feature_table(network, batches))
    assert table["layer"].value_counts().to_dict() == {"0.weight": 30, "2.weight": 15}
    scores = mlflow.pyfunc.load_model("models:/autos@champion").predict(table)["score"]
    survival = AutoS.load(finished.folder / "data/predictor").survival(network, batches)
    expected = torch.cat([values.flatten() for values in survival.values()]).tolist()
    assert scores.tolist() == pytest.approx(expected, rel=1e-5)


def test_registered_model_is_served(finished, client, tmp_path):
    """As a user would: the command, a free port, one request with the logged example."""
    version = client.get_model_version_by_alias("autos", "champion")
    uri = f"sqlite:///{finished.folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    model = mlflow.artifacts.download_artifacts(f"models:/autos/{version.version}")
    example = Path(model) / "serving_input_example.json"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = "mlflow models serve --model-uri models:/autos@champion --env-manager local"
    with (tmp_path / "log.txt").open("w") as log:
        server = subprocess.Popen(
            [*command.split(), "--host", "127.0.0.1", "--port", port, "--workers", "1"],
            cwd=tmp_path, env=mlflow_env(finished), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        while True:
            assert server.poll() is None, (tmp_path / "log.txt").read_text()
            try:
                assert ask(f"http://127.0.0.1:{port}/ping").status == 200
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=example.read_bytes(),
            headers={"Content-Type": "application/json"},
        )
        answer = json.load(ask(request))
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        psutil.wait_procs(processes_in(tmp_path))
        server.wait()
    table = json.loads(example.read_text())["dataframe_split"]
    columns = dict(zip(table["columns"], map(list, zip(*table["data"], strict=True)), strict=True))
    scores = [row["score"] for row in answer["predictions"]]
    expected = predicted(finished, "autos", columns)
    assert len(scores) == 5 and scores == pytest.approx(expected, abs=1e-6)


def test_registered_model_is_loaded_by_name_in_a_plain_session(finished):
    """In the repository's folder nothing has to be set."""
    code = """
import torch
from autos import AutoS, prune
one, two = AutoS.load("models:/autos@champion"), AutoS.load("data/predictor")
assert one.about == two.about
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
batches = [(torch.randn(8, 64), torch.arange(8))]
masks = [prune(model, autos, batches, density=0.1) for autos in (one, two)]
assert masks[0].kept == 64 and torch.equal(*(mask.keep["1.weight"] for mask in masks))
"""
    finished.run("python", "-c", code)


@each_model
def test_model_is_stored_without_pickle(client, finished, name):
    mlflow.set_tracking_uri(f"sqlite:///{finished.folder / 'mlflow.db'}")
    version = client.get_model_version_by_alias(name, "champion")
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{name}/{version.version}"))
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert set(PREDICTORS[name].files) <= names
    assert not any(name.endswith((".pkl", ".pickle")) for name in names)


def test_nothing_is_computed_again_but_for_the_cells_of_a_new_seed(finished, client):
    """It changes the finished run."""
    assert "up to date" in finished.repro()
    before = len(runs(client, "cell"))
    finished.edit_params(prune__seeds=[0, 1])
    finished.repro()
    stages = sorted(runs(client, "stage"), key=lambda run: run.info.start_time)
    assert [run.info.run_name for run in stages[-3:]] == ["prune", "finetune", "evaluate"]
    for run, cells in zip(stages[-3:-1], (CELLS, CELLS + 1), strict=True):
        assert run.data.metrics["units_computed"] == cells, run.info.run_name
        assert run.data.metrics["units_reused"] == cells, run.info.run_name
    assert len(runs(client, "cell")) - before == 2 * CELLS + 1
    assert len(runs(client, "pipeline")) == 2


def test_tidy_removes_what_no_parameter_names(finished, monkeypatch, capsys):
    """It changes the finished run."""
    monkeypatch.chdir(finished.folder)

    def told(*arguments: str) -> str:
        tidy(list(arguments))
        return capsys.readouterr().out

    dry = finished.run("python", "-m", "stages", "tidy", "--dry-run")
    assert dry.count("; 0.0 MB in 0 files could be removed") == 4
    finished.edit_params(prune__seeds=[0])
    dry = told("--dry-run")
    before = set(Path(".work/prune").iterdir())
    assert told() == dry.replace("could be removed", "removed")
    gone = before - set(Path(".work/prune").iterdir())
    assert len(gone) == 2 * CELLS, "a unit and the mark of its run, for each cell of the other seed"
    assert all("-1-" in path.name for path in gone)
    Path("data/masks/masks.json").unlink()
    kept = told().splitlines()[-1]
    assert kept.startswith("finetune: ") and "all of it kept: data/masks/masks.json: not" in kept


@pytest.mark.slow
def test_every_method_runs_from_the_smoke_profile_with_a_check(finished):
    """Last in this module: all that the others left out."""
    profile = yaml.safe_load((ROOT / "profiles/smoke.yaml").read_text())["prune"]
    assert set(METHODS) | {"autos"} <= set(profile["methods"])
    shutil.copy2(ROOT / "profiles/smoke.yaml", finished.folder / "params.yaml")
    finished.repro()
    masks = json.loads((finished.folder / "data/masks/masks.json").read_text())["masks"]
    cells = json.loads((finished.folder / "data/finetuned/results.json").read_text())["cells"]
    assert {m["method"] for m in masks} == set(profile["methods"])
    for mask in masks:
        assert mask["kept"] == round(mask["density"] * mask["total"]), mask["file"]
    trained = {(cell["method"], cell["check"]) for cell in cells}
    both = {(name, check) for name in profile["methods"] for check in (None, "shuffle")}
    assert trained == both | {("dense", None)}
    report = (finished.folder / "data/report/report.md").read_text()
    for name in METHODS:
        assert f"| {name} | {METHODS[name].kind} |" in report
        assert f"| {name} | 10 % |" in report.split("## Sanity checks")[1]
