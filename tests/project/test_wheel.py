"""The wheel: what is in it, and what it does in an environment and a folder of somebody else."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from uv import find_uv_bin

from autos.images.store import write_images

ROOT = Path(__file__).parents[2]
OPTIONAL = ("torchvision", "lightning", "zarr", "scipy", "matplotlib", "mlflow", "dvc", "timm")

NET = """
from torch import nn

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
"""


def uv(*arguments: str | Path) -> None:
    done = subprocess.run([find_uv_bin(), *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--python", sys.executable, "--out-dir", folder, ROOT)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def bin_(wheel, tmp_path_factory) -> Path:
    """Programs of an environment in which there is nothing but the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("environment")
    uv("venv", "--quiet", "--clear", "--python", sys.executable, folder)
    uv("pip", "install", "--quiet", "--python", folder, "-c", ROOT / "constraints.txt", wheel)
    return folder / "bin"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Path:
    """A folder with packages that are called as ours are, a module of a model, and images."""
    folder = tmp_path_factory.mktemp("theirs")
    for package in ("models", "pipeline", "stages"):
        (folder / package).mkdir()
        (folder / package / "__init__.py").write_text("THEIRS = True\n")
    (folder / "models/net.py").write_text(NET)
    rng = np.random.default_rng(0)
    for label in "ab":
        (folder / "photos" / label).mkdir(parents=True)
        for i in range(4):
            image = Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8))
            image.save(folder / "photos" / label / f"{i}.png")
    (folder / "recipe.yaml").write_text(
        "{epochs: 1, batch_size: 4, optimizer: sgd, lr: 0.1, schedule: cosine}"
    )
    (folder / "hf").mkdir()
    (folder / "hf/config.json").write_text("{}")
    images = rng.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8), np.arange(6) % 2
    splits = dict.fromkeys(("train", "validation", "test"), images)
    write_images(folder / "images.zarr", splits, {"classes": ["a", "b"]})
    return folder


def run(program: Path, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [program, *arguments], cwd=folder, env=kept, capture_output=True, text=True
    )


PRUNE = {
    "--data": "random",
    "--shape": "1,8,8",
    "--density": "0.1",
    "--out": "m.safetensors",
    "--model": "models.net:build",
}


def prune(**changes: str) -> list[str]:
    """Return a command line that prunes their model, with these options changed or added."""
    options = PRUNE | {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
    if options["--data"] != "random":
        del options["--shape"]
    return ["prune", *(part for option in options.items() for part in option)]


def test_it_holds_one_package_with_its_types_and_predictors(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"autos"}
    shipped = {"autos.json", "autos_paper.json", "autos_paper.safetensors"}
    folder = "autos/predictors/shipped/"
    assert {n.removeprefix(folder) for n in names if n.startswith(folder)} == shipped
    assert "autos/py.typed" in names
    sources = {f"autos/{p.relative_to(ROOT / 'pipeline/autos')}" for p in modules()}
    assert sources == {name for name in names if name.endswith(".py")}


def modules() -> list[Path]:
    return list((ROOT / "pipeline/autos").rglob("*.py"))


def test_it_needs_none_of_what_is_optional(bin_, theirs):
    code = f"import importlib.util as u; print([n for n in {OPTIONAL} if u.find_spec(n)])"
    assert run(bin_ / "python", "-c", code, folder=theirs).stdout == "[]\n"


def test_it_tells_its_version(bin_, theirs):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(bin_ / "autos", "--version", folder=theirs).stdout == f"{version}\n"
    done = run(bin_ / "python", "-c", "import autos; print(autos.__version__)", folder=theirs)
    assert done.stdout == f"{version}\n"


def test_every_module_imports_or_names_the_extra(bin_, theirs):
    code = """
import importlib, pkgutil, autos
for found in pkgutil.walk_packages(autos.__path__, "autos."):
    try:
        importlib.import_module(found.name)
    except autos.UserError as error:
        assert "is not installed: pip install 'autos[" in str(error), found.name
"""
    done = run(bin_ / "python", "-c", code, folder=theirs)
    assert done.returncode == 0, done.stderr


def test_the_command_prunes_their_model(bin_, theirs):
    done = run(bin_ / "autos", *prune(), folder=theirs)
    assert done.returncode == 0, done.stderr
    assert "keeps 237 of 2,368 weights" in done.stdout


def test_python_prunes_their_model_and_their_packages_are_theirs(bin_, theirs):
    code = """
import models, pipeline, stages, torch
from models.net import build
from autos import AutoS, prune
assert models.THEIRS and pipeline.THEIRS and stages.THEIRS
batches = [(torch.randn(8, 1, 8, 8), torch.arange(8))]
mask = prune(build(), AutoS.load(), batches, density=0.1)
print(mask.kept, mask.total)
"""
    done = run(bin_ / "python", "-c", code, folder=theirs)
    assert done.stdout == "237 2368\n", done.stderr


ONE_AFTER_THE_OTHER = """
import contextlib, io, json, sys
from autos.cli.app import main
for arguments in json.loads(sys.argv[1]):
    told, status = io.StringIO(), 0
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            main(arguments)
        except SystemExit as error:
            status = error.code
    print(json.dumps([status, told.getvalue()]))
"""
"""What runs command lines in one process: each alone would import torch again."""


def test_what_is_missing_is_named_with_its_extra(bin_, theirs):
    photos = {"data": "photos", "image_size": "8", "recipe": "recipe.yaml"}
    weights = "torchvision:ResNet18_Weights.DEFAULT"
    plot = ["analyse", "layer-densities", "m.safetensors", "--plot", "p.png"]
    missing = [
        (prune(model="torchvision:resnet18"), "torchvision", "pipeline"),
        (prune(model="timm:convnext_atto"), "timm", "timm"),
        (prune(model="hf:hf"), "transformers", "transformers"),
        (prune(predictor="models:/autos@champion"), "mlflow", "pipeline"),
        (prune(data="images.zarr"), "zarr", "pipeline"),
        (prune(weights=weights), "torchvision", "pipeline"),
        (prune(method="rigl", **photos), "lightning", "pipeline"),
        (plot, "matplotlib", "pipeline"),
    ]
    working = [
        *(prune(method=name) for name in ("autos", "autos_paper", "snip", "synflow")),
        plot[:-2],
    ]
    lines = json.dumps(working + [arguments for arguments, _, _ in missing])
    done = run(bin_ / "python", "-c", ONE_AFTER_THE_OTHER, lines, folder=theirs)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [status for status, _ in results[: len(working)]] == [0] * len(working), results
    for (_, package, extra), (status, told) in zip(missing, results[len(working) :], strict=True):
        assert told == f"error: {package} is not installed: pip install 'autos[{extra}]'\n"
        assert status == 2
    assert not (theirs / "p.png").exists()


def test_an_architecture_of_ours_is_not_known_there(bin_, theirs):
    done = run(bin_ / "autos", *prune(model="lenet_5"), folder=theirs)
    assert done.returncode == 2
    assert "unknown architecture 'lenet_5'; `models:ARCHITECTURES` is not in this" in done.stderr
