"""Who may import whom, and what must not be imported early."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "pipeline", "stages")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


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


@pytest.mark.parametrize("package", ["models", "pipeline"])
def test_only_stages_know_mlflow_and_dvc_even_lazily(package):
    """But for a predictor that is named by its place in MLflow's registry."""
    for path in (ROOT / package).rglob("*.py"):
        tops = {name.split(".")[0] for name in imported(path.read_text())}
        known = tops & {"mlflow", "dvc", "stages"}
        assert known == ({"mlflow"} if path == ROOT / "pipeline/registry.py" else set()), path


def test_no_import_hides_from_the_fingerprint():
    """It follows neither relative nor dynamic imports; only what nothing imports may have them."""
    allowed = {
        "stages/__main__.py": {"dynamic f'stages.{name}'"},
        "pipeline/__init__.py": {"dynamic f'pipeline.{HOMES[name]}'"},
        "pipeline/cli/user_code.py": {"dynamic module_name"},
    }
    for path in MODULES:
        hidden = {n for n in imported(path.read_text()) if n.startswith((".", "dynamic"))}
        assert hidden == allowed.get(str(path.relative_to(ROOT)), set()), path


# --- the contracts in pyproject.toml ---


def lint(folder: Path) -> tuple[int, str]:
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_the_contracts_are_kept():
    status, output = lint(ROOT)
    assert status == 0, output
    assert "Contracts: 2 kept, 0 broken." in output


@pytest.mark.parametrize(
    ("file", "planted", "broken"),
    [
        ("models/vgg.py", "from pipeline import errors", "stages use pipeline"),
        ("pipeline/masks.py", "from stages import _tracking", "stages use pipeline"),
        ("pipeline/report.py", "def f():\n    import mlflow", "only stages know MLflow"),
        ("models/_init.py", "from dvc import api", "only stages know MLflow"),
    ],
)
def test_a_planted_violation_breaks_its_contract(tmp_path, file, planted, broken):
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as text:
        text.write(f"\n{planted}\n")
    status, output = lint(tmp_path)
    assert status == 1, output
    assert "Contracts: 1 kept, 1 broken." in output
    (line,) = [line for line in output.splitlines() if " BROKEN" in line]
    assert line.startswith(broken)
    assert file.removesuffix(".py").replace("/", ".") in output


# --- what is light stays light ---

LIGHT = (
    "pipeline.config",
    "pipeline.preparing",
    "pipeline.report",
    "stages.__main__",
    "stages._stage",
    "stages.prepare",
    "stages.evaluate",
    "models",
    "pipeline.images",
    "pipeline.executor",
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
