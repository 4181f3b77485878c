"""The fingerprint of code changes when a result may change, and only then."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from models import ARCHITECTURES
from pipeline import fingerprint
from pipeline.criteria import CRITERIA

ROOT = Path(__file__).parents[1]
FILES = {
    "pipeline/__init__.py": "",
    "pipeline/main.py": '''
"""Module."""

from pipeline import sibling
from pipeline.criteria import CRITERIA
from pipeline.deep import inner
import json, os.path
import stages.prune

LIMIT = 3
"""Attribute."""


class A:
    """Class."""

    size: int = 1
    """Field."""


def f(a, b=2):
    """Function."""
    from pipeline.lazy import late
    import models.lazy as net

    return a + b  # sum
''',
    "pipeline/sibling.py": "import pipeline.main\nX = 1",
    "pipeline/deep.py": "from models.net import Net\ninner = 1",
    "pipeline/lazy.py": "def late(): return 1",
    "pipeline/alone.py": "X = 1",
    "pipeline/criteria/__init__.py": "from pipeline.criteria import one, two",
    "pipeline/criteria/one.py": "from pipeline.deep import inner\nX = 1",
    "pipeline/criteria/two.py": "X = 1",
    "models/__init__.py": "from models import net, other",
    "models/net.py": "class Net: pass",
    "models/lazy.py": "X = 1",
    "models/other.py": "X = 1",
    "stages/prune.py": "X = 1",
}


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Iterator[Path]:
    """A small project that counts as this one."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    yield tmp_path
    clear()


def clear() -> None:
    for cached in (fingerprint.code, fingerprint.imports, fingerprint._without_docstrings):
        cached.cache_clear()


def code(*modules: str) -> str:
    """The fingerprint as a new process would find it."""
    clear()
    return fingerprint.code(frozenset(modules or ["pipeline.main"]))


# --- one module ---


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# sum", ""),
        ("# sum", "# the sum of a and b"),
        ('"""Module."""', ""),
        ('"""Module."""', '"""Something\n\nelse."""'),
        ('"""Attribute."""', ""),
        ('"""Class."""', '"""A class."""'),
        ('"""Field."""', ""),
        ('"""Function."""', ""),
        ("a + b", "(\n        a\n        + b\n    )"),
        ("def f(a, b=2):", "def f(\n    a,\n    b=2,\n):"),
        ("LIMIT = 3", "\n\n\nLIMIT   =   0x3"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(root, old, new):
    before = code()
    path = root / "pipeline/main.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert path.read_text() != text
    assert code() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a + b", "a - b"),
        ("a + b", "b + a"),
        ("b=2", "b=2.0"),
        ("b=2", "b=3"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "OTHER = 3"),
        ("LIMIT = 3", ""),
        ("size: int", "size: float"),
        ("class A:", "class A(dict):"),
        ("def f", "@property\ndef f"),
        ("    return", "    if a: return"),
        ("LIMIT = 3", 'LIMIT = "3"'),
    ],
)
def test_every_other_change_counts(root, old, new):
    before = code()
    path = root / "pipeline/main.py"
    path.write_text(path.read_text().replace(old, new))
    assert code() != before


def test_undoing_a_change_undoes_the_difference(root):
    before = code()
    path = root / "pipeline/main.py"
    text = path.read_text()
    path.write_text(text.replace("a + b", "a * b"))
    assert code() != before
    path.write_text(text)
    assert code() == before


# --- what a module imports ---


@pytest.mark.parametrize(
    "name",
    [
        "pipeline/sibling.py",
        "pipeline/deep.py",
        "pipeline/lazy.py",
        "models/net.py",
        "models/lazy.py",
    ],
)
def test_modules_it_imports_count_also_lazily_and_through_others(root, name):
    before = code()
    with (root / name).open("a") as file:
        file.write("\nNEW = 1\n")
    assert code() != before


@pytest.mark.parametrize(
    "name",
    [
        "pipeline/alone.py",
        "pipeline/criteria/__init__.py",
        "pipeline/criteria/one.py",
        "models/__init__.py",
        "models/other.py",
        "stages/prune.py",
    ],
)
def test_registries_stages_and_modules_it_does_not_import_do_not_count(root, name):
    before = code()
    with (root / name).open("a") as file:
        file.write("\nNEW = 1\n")
    assert code() == before


def test_an_entry_of_a_registry_counts_with_what_it_imports_when_it_is_given(root):
    before = code("pipeline.alone", "pipeline.criteria.one")
    (root / "pipeline/criteria/two.py").write_text("X = 2")
    assert code("pipeline.alone", "pipeline.criteria.one") == before
    (root / "models/net.py").write_text("class Net: size = 1")
    changed = code("pipeline.alone", "pipeline.criteria.one")
    assert changed != before
    (root / "pipeline/criteria/one.py").write_text("from pipeline.deep import inner\nX = 2")
    assert code("pipeline.alone", "pipeline.criteria.one") not in (before, changed)


def test_moving_code_to_another_module_counts(root):
    before = code("pipeline.alone")
    shutil.copy(root / "pipeline/alone.py", root / "pipeline/copied.py")
    assert code("pipeline.copied") != before


def test_a_module_that_is_missing_is_not_passed_over():
    with pytest.raises(ModuleNotFoundError, match=r"pipeline\.nothing"):
        code("pipeline.nothing")


def test_another_version_of_a_library_counts(root, monkeypatch):
    before = code()
    folder = root / "site/torch-0.1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.1\n")
    monkeypatch.syspath_prepend(root / "site")
    assert code() != before


# --- entries of registries ---


def test_an_entry_is_known_by_its_module_and_the_arguments_the_registry_gives():
    assert fingerprint.module_of(ARCHITECTURES["resnet_20"]) == "models.resnet_cifar"
    assert fingerprint.settings_of(ARCHITECTURES["resnet_20"]) == {"depth": 20}
    assert fingerprint.module_of(CRITERIA["grasp"].score) == "pipeline.criteria.grasp"
    assert fingerprint.settings_of(CRITERIA["grasp"].score) == {}
    nested = partial(ARCHITECTURES["resnet_20"], width=2)
    assert fingerprint.module_of(nested) == "models.resnet_cifar"
    assert fingerprint.settings_of(nested) == {"depth": 20, "width": 2}


# --- this project ---


@pytest.fixture
def copy(root, monkeypatch) -> Path:
    """A copy of the real packages that may be edited."""
    for package in ("pipeline", "models"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, root / "real" / package, ignore=ignore)
    monkeypatch.setattr(fingerprint, "ROOT", root / "real")
    return root / "real"


IRP = ("pipeline.irp", "models.lenet_5", "pipeline.criteria.snip")
MASK = ("pipeline.mask_cells", "models.lenet_5", "pipeline.criteria.grasp")
AUTOS = ("pipeline.predicted_mask_cells", "models.lenet_5")


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("pipeline/training.py", {IRP, MASK, AUTOS}),
        ("pipeline/criteria/snip.py", {IRP}),
        ("pipeline/criteria/grasp.py", {MASK}),
        ("pipeline/criteria/npb.py", set()),
        ("pipeline/predictor.py", {AUTOS}),
        ("models/autos.py", {AUTOS}),
        ("pipeline/pruning.py", {MASK, AUTOS}),
        ("pipeline/masks.py", {IRP, MASK, AUTOS}),
        ("models/_init.py", {IRP, MASK, AUTOS}),
        ("models/lenet_5.py", {IRP, MASK, AUTOS}),
        ("models/mobilenet_v2.py", set()),
        ("pipeline/report.py", set()),
        ("pipeline/executor.py", set()),
    ],
)
def test_a_change_makes_the_right_results_new(copy, file, changed):
    before = {modules: fingerprint.code(frozenset(modules)) for modules in (IRP, MASK, AUTOS)}
    with (copy / file).open("a") as text:
        text.write("\nNEW = 1\n")
    clear()
    after = {modules: fingerprint.code(frozenset(modules)) for modules in before}
    assert {modules for modules in before if after[modules] != before[modules]} == changed
