"""Who may import whom, and what must not be imported early."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = 4
PACKAGES = {
    "autos": ROOT / "pipeline/autos",
    "models": ROOT / "models",
    "stages": ROOT / "stages",
}
MODULES = sorted(path for folder in PACKAGES.values() for path in folder.rglob("*.py"))


def imported(source: str) -> set[str]:
    """Dotted names that a module imports anywhere; relative ones begin with a dot."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add("." * node.level + (node.module or ""))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            found.add(f"dynamic {ast.unparse(node.args[0])}")
    return found


def test_imports_are_found_wherever_they_are():
    source = """
import a.b as c
def f():
    from d.e import g
    if f: import h
class C:
    from .i import j
    import importlib; importlib.import_module("k")
"""
    assert imported(source) == {"a.b", "d.e", "h", ".i", "importlib", "dynamic 'k'"}


@pytest.mark.parametrize("package", ["models", "autos"])
def test_only_stages_know_mlflow_and_dvc_even_lazily(package):
    """But for a predictor that is named by its place in MLflow's registry."""
    for path in PACKAGES[package].rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path.read_text())}
        known = tops & {"mlflow", "dvc", "stages"}
        place = PACKAGES["autos"] / "storage/mlflow_models.py"
        assert known == ({"mlflow"} if path == place else set()), path


def test_no_import_is_relative_or_dynamic():
    """A reader and a search find them all; the exceptions are there for names of the user."""
    allowed = {
        "stages/_program.py": {"dynamic f'stages.{name}'"},
        "stages/_tidy.py": {"dynamic f'stages.{stage}'"},
        "pipeline/autos/__init__.py": {"dynamic f'autos.{HOMES[name]}'"},
        "pipeline/autos/user_code.py": {"dynamic module_name"},
    }
    for path in MODULES:
        hidden = {n for n in imported(path.read_text()) if n.startswith((".", "dynamic"))}
        assert hidden == allowed.get(str(path.relative_to(ROOT)), set()), path


# --- rooms ---


def test_no_room_has_more_than_about_a_dozen_modules_beside_registries():
    """A folder whose modules are entries of a registry may have any number of them."""
    registries = {PACKAGES["autos"] / name for name in ("methods", "methods/criteria", "analyses")}
    registries.add(PACKAGES["autos"] / "images/datasets")
    for folder in {path.parent for path in PACKAGES["autos"].rglob("*.py")} - registries:
        modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(modules) <= 13, folder


# --- the contracts in pyproject.toml ---


def lint(folder: Path) -> tuple[int, str]:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    environment = {**os.environ, "PYTHONPATH": str(folder / "pipeline")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_contracts_are_kept():
    status, output = lint(ROOT)
    assert status == 0, output
    assert f"Contracts: {CONTRACTS} kept, 0 broken." in output


@pytest.mark.parametrize(
    ("file", "planted", "broken"),
    [
        ("pipeline/autos/masks/mask.py", "from stages import _tracking", "stages use the library"),
        ("models/vgg.py", "from autos import errors", "architectures and the library"),
        ("models/vgg.py", "from dvc import api", "only stages know MLflow"),
        ("pipeline/autos/report/tables.py", "def f():\n    import mlflow", "only stages know"),
        ("pipeline/autos/images/store.py", "from autos.masks import mask", "rooms of the library"),
        ("pipeline/autos/methods/base.py", "from autos.irp import config", "rooms of the library"),
        ("pipeline/autos/work/units.py", "from autos import user_code", "rooms of the library"),
    ],
)
def test_a_planted_violation_breaks_its_contract(tmp_path, file, planted, broken):
    for package in PACKAGES.values():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, tmp_path / package.relative_to(ROOT), ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as text:
        text.write(f"\n{planted}\n")
    status, output = lint(tmp_path)
    assert status == 1, output
    assert f"Contracts: {CONTRACTS - 1} kept, 1 broken." in output
    (line,) = [line for line in output.splitlines() if " BROKEN" in line]
    assert line.startswith(broken)
    module = file.removeprefix("pipeline/").removesuffix(".py").replace("/", ".")
    assert module in output


def test_a_room_without_a_floor_breaks_the_contract(tmp_path):
    for package in PACKAGES.values():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, tmp_path / package.relative_to(ROOT), ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "pipeline/autos/cellar").mkdir()
    (tmp_path / "pipeline/autos/cellar/__init__.py").touch()
    status, output = lint(tmp_path)
    assert status == 1 and "autos.cellar" in output


def test_experiments_and_benchmarks_import_what_is_there():
    """No other test runs all of them."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("benchmarks", "comparisons", "docs")
        for path in (ROOT / folder).glob("*.py")
    ]
    code = f"import importlib; [importlib.import_module(name) for name in {modules}]"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# --- what is light stays light ---

LIGHT = (
    "autos",
    "autos.config",
    "autos.images.prepare",
    "autos.grid.cell",
    "autos.report.tables",
    "stages.__main__",
    "stages._stage",
    "stages.prepare",
    "stages.evaluate",
    "models",
    "autos.pruning",
    "autos.predictors.autos",
    "autos.images.image_set",
    "autos.work.executor",
    "stages.irp",
    "stages.train_predictor",
    "stages.prune",
    "stages.finetune",
)
HEAVY = ("torch", "torchvision", "lightning", "mlflow", "dvc", "scipy.stats", "torch._dynamo")


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """Heavy modules that one process has after importing each of LIGHT, in that order."""
    code = f"""
import importlib, json, sys
loaded = {{}}
for name in {LIGHT}:
    importlib.import_module(name)
    loaded[name] = [heavy for heavy in {HEAVY} if heavy in sys.modules]
print(json.dumps(loaded))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_settings_preparing_and_reporting_do_without_torch(loaded):
    assert {name: loaded[name] for name in LIGHT[: LIGHT.index("models")]} == {
        name: [] for name in LIGHT[: LIGHT.index("models")]
    }


def test_nothing_takes_more_than_torch_before_it_is_needed(loaded):
    assert loaded["models"] == ["torch"]
    assert set(map(tuple, list(loaded.values())[LIGHT.index("models") :])) == {("torch",)}


def test_importing_the_library_changes_neither_environment_nor_warnings():
    """What torch and Lightning change when they are imported is theirs."""
    code = """
import importlib, os, pkgutil, sys, warnings
import lightning.pytorch, matplotlib.pyplot, mlflow, numpy, scipy.stats, torch, torchvision, zarr
import timm
from transformers import TrainerCallback
environment, filters, path = dict(os.environ), list(warnings.filters), list(sys.path)
threads, state = torch.get_num_threads(), torch.get_rng_state()
import autos
found = [found.name for found in pkgutil.walk_packages(autos.__path__, "autos.")]
for name in found:
    importlib.import_module(name)
assert len(found) > 100 and "autos.training.trainer" in sys.modules
assert dict(os.environ) == environment, "environment"
assert warnings.filters == filters, "warning filters"
assert sys.path == path, "path"
assert torch.get_num_threads() == threads and torch.equal(torch.get_rng_state(), state)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
