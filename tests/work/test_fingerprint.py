"""The fingerprint of code changes when a result may change, and only then."""

import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from autos import irp
from autos.compute import Hardware
from autos.grid import finetune, mask_cells
from autos.grid.mask_cells import find_mask
from autos.images.loaders import ScoringConfig
from autos.irp.config import SourceConfig
from autos.irp.work import SourceWork, compute_round
from autos.methods.criteria import CRITERIA
from autos.training import loop  # noqa: F401 (slow to import, all the more while it is watched)
from autos.training.recipe import TrainConfig
from autos.work import fingerprint
from autos.work.fingerprint import closure

ROOT = Path(__file__).parents[2]


def clear() -> None:
    """Forget what was read, as a new process would."""
    for cached in (
        fingerprint.code,
        fingerprint._parsed,
        fingerprint._source,
        fingerprint._folders,
        fingerprint._text,
    ):
        cached.cache_clear()


def code(*roots: str) -> str:
    clear()
    return fingerprint.code(frozenset(roots))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new, 1))


# --- the library: what a definition uses, and nothing else ---

LIBRARY = {
    "autos/__init__.py": "",
    "autos/main.py": '''
"""Module."""

import json, os.path
import warnings

from autos import sibling
from autos.deep import inner as renamed
from autos.errors import UserError
from autos.methods import METHODS
from autos.storage.files import write

LIMIT = 3
"""Attribute."""
UNUSED = 4


class A:
    """Class."""

    size: int = 1
    """Field."""


def helper(a: "A") -> int:
    return A.size + LIMIT


def unused():
    return UNUSED


def f(a, b=2):
    """Function."""
    from autos.lazy import late
    import autos.wide as wide

    if a < 0:
        raise UserError(f"{a} is negative")
    warnings.warn("careful", stacklevel=2)
    assert b, "b is needed"
    write(json.dumps(METHODS[a]))
    return a + b + helper(late()) + sibling.used(renamed) + wide.far.off()  # sum
''',
    "autos/sibling.py": "def used(x): return deeper(x)\ndef deeper(x): return x\nOTHER = 1",
    "autos/deep.py": "inner = 1\nouter = 2",
    "autos/lazy.py": "from autos.reexported import late",
    "autos/reexported.py": "def late(): return 1\nX = 1",
    "autos/wide/__init__.py": "",
    "autos/wide/far.py": "def off(): return 1\nX = 1",
    "autos/errors.py": "class UserError(Exception): pass",
    "autos/storage/__init__.py": "",
    "autos/storage/files.py": "def write(x): pass",
    "autos/methods/__init__.py": "from autos.methods import one, two\nMETHODS = {1: one, 2: two}",
    "autos/methods/one.py": "from autos.deep import inner\nX = inner",
    "autos/methods/two.py": "X = 1",
}


@pytest.fixture
def library(tmp_path, monkeypatch) -> Iterator[Path]:
    """A small library that counts as this one."""
    for name, text in LIBRARY.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(
        fingerprint, "_folders", lambda top: [tmp_path / "autos"] if top == "autos" else []
    )
    monkeypatch.setattr(fingerprint._folders, "cache_clear", lambda: None, raising=False)
    yield tmp_path / "autos"
    monkeypatch.undo()
    clear()


MAIN = "autos.main:f"


def test_what_a_definition_uses_is_found_wherever_it_is(library):
    clear()
    assert closure(frozenset([MAIN])) == {
        MAIN,
        "autos.main:helper",
        "autos.main:A",
        "autos.main:LIMIT",
        "autos.sibling:used",
        "autos.sibling:deeper",
        "autos.deep:inner",
        "autos.reexported:late",
        "autos.wide.far:off",
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# sum", ""),
        ("# sum", "# the sum of a and b"),
        ('"""Module."""', ""),
        ('"""Class."""', '"""A class.\n\n    Of two lines."""'),
        ('"""Field."""', ""),
        ('"""Function."""', '"""Something else."""'),
        ('f"{a} is negative"', 'f"{a} must be 0 or more"'),
        ('"careful"', '"take care"'),
        ('"b is needed"', '"b must not be 0"'),
        ("def f(a, b=2):", "def f(\n    a,\n    b=2,\n):"),
        ("LIMIT = 3", "\n\n\nLIMIT   =   0x3"),
        ("UNUSED = 4", "UNUSED = 5"),
        ("def unused():", "def unused(a):"),
        ("def unused():", "def added(): return 1\n\n\ndef unused():"),
    ],
)
def test_comments_docstrings_layout_messages_and_other_definitions_do_not_count(library, old, new):
    before = code(MAIN)
    replace(library / "main.py", old, new)
    assert code(MAIN) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a + b +", "a - b +"),
        ("a + b +", "b + a +"),
        ("b=2", "b=2.0"),
        ("b=2", "b=3"),
        ("LIMIT = 3", "LIMIT = 4"),
        ("size: int = 1", "size: float = 1"),
        ("class A:", "class A(dict):"),
        ("def helper", "@property\ndef helper"),
        ("    if a < 0:", "    if a <= 0:"),
        ("raise UserError(", "raise ValueError("),
        ("A.size + LIMIT", "A.size"),
    ],
)
def test_every_other_change_of_what_is_used_counts(library, old, new):
    before = code(MAIN)
    replace(library / "main.py", old, new)
    assert code(MAIN) != before


@pytest.mark.parametrize(
    ("file", "old", "new", "counts"),
    [
        ("sibling.py", "deeper(x): return x", "deeper(x): return -x", True),
        ("sibling.py", "OTHER = 1", "OTHER = 2", False),
        ("deep.py", "inner = 1", "inner = 3", True),
        ("deep.py", "outer = 2", "outer = 3", False),
        ("reexported.py", "return 1", "return 2", True),
        ("reexported.py", "X = 1", "X = 2", False),
        ("wide/far.py", "return 1", "return 2", True),
        ("wide/far.py", "X = 1", "X = 2", False),
        ("errors.py", "pass", "code = 2", False),
        ("storage/files.py", "pass", "return 1", False),
        ("methods/__init__.py", "2: two", "3: two", False),
        ("methods/one.py", "X = inner", "X = 1", False),
    ],
)
def test_other_modules_count_as_far_as_they_are_used(library, file, old, new, counts):
    before = code(MAIN)
    replace(library / file, old, new)
    assert (code(MAIN) != before) == counts


def test_a_whole_module_is_all_of_its_definitions(library):
    clear()
    assert {"autos.methods.one", "autos.deep:inner"} == closure(frozenset(["autos.methods.one"]))
    before = code("autos.methods.one")
    replace(library / "methods/one.py", "X = inner", "X = inner\nY = 1")
    assert code("autos.methods.one") != before


def test_undoing_a_change_undoes_the_difference(library):
    before = code(MAIN)
    replace(library / "main.py", "a + b +", "a * b +")
    assert code(MAIN) != before
    replace(library / "main.py", "a * b +", "a + b +")
    assert code(MAIN) == before


def test_a_module_that_is_missing_is_not_passed_over(library):
    with pytest.raises(ModuleNotFoundError, match=r"autos\.nothing"):
        code("autos.nothing")


def test_another_version_of_a_library_counts(library, tmp_path, monkeypatch):
    before = code(MAIN)
    folder = tmp_path / "site/torch-0.1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.1\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert code(MAIN) != before


# --- anybody's own code: whole modules, with all that they import ---

OWN = {
    "my_nets/__init__.py": "",
    "my_nets/net.py": """
import json
import numpy
from . import parts
from .layers import *
from my_other import scale


def build(num_classes):
    from my_nets.lazy import late
    return parts
""",
    "my_nets/parts.py": "X = 1",
    "my_nets/layers.py": "from ..my_nets import deep\nX = 1",
    "my_nets/lazy.py": "late = 1",
    "my_nets/deep.py": "X = 1",
    "my_nets/alone.py": "X = 1",
    "my_other.py": "scale = 2\nother = 3",
}


@pytest.fixture
def own(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder with somebody's modules, on the path."""
    for name, text in OWN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    clear()


def test_of_ones_own_modules_all_that_is_imported_counts(own):
    clear()
    replace(own / "my_nets/layers.py", "from ..my_nets import deep", "from my_nets import deep")
    assert closure(frozenset(["my_nets.net"])) == {
        "my_nets.net",
        "my_nets.parts",
        "my_nets.layers",
        "my_nets.lazy",
        "my_nets.deep",
        "my_other",
        "my_nets",
    } - {"my_nets"}


@pytest.mark.parametrize(
    ("file", "counts"),
    [("parts.py", True), ("layers.py", True), ("lazy.py", True), ("alone.py", False)],
)
def test_any_statement_of_them_counts(own, file, counts):
    before = code("my_nets.net")
    with (own / "my_nets" / file).open("a") as text:
        text.write("\nNEW = 1\n")
    assert (code("my_nets.net") != before) == counts


def test_what_is_installed_does_not_count_as_ones_own(own):
    clear()
    replace(own / "my_other.py", "scale = 2", "import torch, yaml\nscale = 2")
    assert closure(frozenset(["my_other"])) == {"my_other"}


# --- this project ---


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of the real library that may be edited."""
    ignored = shutil.ignore_patterns("__pycache__", "shipped")
    shutil.copytree(ROOT / "pipeline/autos", tmp_path / "autos", ignore=ignored)
    real = fingerprint._folders.__wrapped__
    monkeypatch.setattr(
        fingerprint,
        "_folders",
        lambda top: [tmp_path / "autos"] if top == "autos" else real(top),
    )
    monkeypatch.setattr(fingerprint._folders, "cache_clear", lambda: None, raising=False)
    yield tmp_path / "autos"
    monkeypatch.undo()
    clear()


ROUND = ("autos.irp.work:compute_round", CRITERIA["snip"].function.__module__)
MASK = ("autos.grid.mask_cells:find_mask", CRITERIA["grasp"].function.__module__)
AUTOS = ("autos.grid.mask_cells:find_mask", "autos.predictors.autos")
FINETUNE = ("autos.grid.finetune:finetune",)

CHANGES = {
    # What does not make a round of IRP anew.
    "a feature": ("network/features.py", "STEP = 0.3", "STEP = 0.4", {AUTOS}),
    "an error message": (
        "network/gradients.py",
        "the loss must be a scalar tensor",
        "the loss has to be a scalar tensor",
        set(),
    ),
    "a message of a setting": (
        "training/recipe.py",
        "momentum and nesterov belong to",
        "momentum and nesterov are of",
        set(),
    ),
    "a retry of the storage": ("storage/tensors.py", "with replacing(path)", "if 1:", set()),
    "the order of the work": ("work/executor.py", "workers == 1", "workers < 2", set()),
    "a progress bar": ("cli/display.py", "transient=True", "transient=False", set()),
    "a docstring": ("irp/rounds.py", "Run the body of the loop", "Do the body", set()),
    "another criterion": ("methods/criteria/npb.py", "alpha: float", "alfa: float", set()),
    "another method": ("methods/rigl.py", "alpha / 2", "alpha / 3", set()),
    "another form of a mask": (
        "masks/mask.py",
        "    def apply_(self",
        "    def remove_(self): pass\n\n    def apply_(self",
        {ROUND, MASK, AUTOS, FINETUNE},  # A class counts as a whole.
    ),
    "the report": ("report/tables.py", "3g} %", "4g} %", set()),
    # What does.
    "the rewinding": (
        "irp/rounds.py",
        "model = copied(initial)",
        "model = initial",
        {ROUND},
    ),
    "the cycle": ("methods/cycles.py", "told = train(model, mask)", "told = None", {ROUND}),
    "the training loop": (
        "training/loop.py",
        "self.loop.step += 1",
        "self.loop.step += 2",
        {ROUND, MASK, AUTOS, FINETUNE},
    ),
    "the optimizer": (
        "training/recipe.py",
        "lr=self.lr, weight_decay",
        "lr=2 * self.lr, weight_decay",
        {ROUND, MASK, AUTOS, FINETUNE},
    ),
    "the criterion": ("methods/criteria/snip.py", ".abs_()", "", {ROUND}),
    "the other criterion": ("methods/criteria/grasp.py", "default=200", "default=100", {MASK}),
    "the selection": (
        "masks/selection.py",
        "top = piece > threshold",
        "top = piece >= threshold",
        {ROUND, MASK, AUTOS},
    ),
    "the initialisation": (
        "network/initialize.py",
        'nonlinearity="relu"',
        'nonlinearity="tanh"',
        {ROUND, MASK, AUTOS, FINETUNE},
    ),
    "the images": (
        "images/image_set.py",
        "images.float().mul_",
        "images.double().mul_",
        {ROUND, MASK, AUTOS, FINETUNE},
    ),
    "the flow": ("network/flow.py", "parameter.abs_()", "parameter.pow_(2)", {AUTOS}),
    "a predictor": ("predictors/autos.py", "rounds = 30", "rounds = 20", {AUTOS}),
    "the other predictor": ("predictors/lookup.py", "NODES = 1025", "NODES = 513", set()),
}


@pytest.mark.parametrize(("file", "old", "new", "changed"), CHANGES.values(), ids=CHANGES)
def test_a_change_makes_the_right_results_new(copy, file, old, new, changed):
    units = (ROUND, MASK, AUTOS, FINETUNE)

    def codes():
        clear()
        return {unit: fingerprint.code(frozenset(unit)) for unit in units}

    before = codes()
    replace(copy / file, old, new)
    after = codes()
    assert {unit for unit in units if after[unit] != before[unit]} == changed


def test_a_round_does_not_depend_on_what_is_known_at_the_start(image_store):
    settings = {
        "architecture": "lenet_5",
        "images": "tiny",
        "rounds": 2,
        "scoring": ScoringConfig(per_class=5, batch_size=5, batch_norm="train"),
        "train": TrainConfig(epochs=1, batch_size=15, optimizer="adam", lr=1e-3, schedule="cosine"),
    }
    work = SourceWork.of("a", SourceConfig(**settings), image_store, Hardware())
    assert all(work.start.key not in unit.inputs.values() for unit in work.rounds)
    places = closure(frozenset(["autos.irp.work:compute_round"]))
    assert not [place for place in places if place.startswith(("autos.network.features",))]


# --- no code that runs is left out ---


class Watch:
    """Notes the functions of the library that run while it is on."""

    def __init__(self) -> None:
        self.ran: set[str] = set()

    def __enter__(self) -> "Watch":
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame, event, _) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("autos."):
            # Of a method the class counts, of a function within a function the outer one.
            name = frame.f_code.co_qualname.partition(".")[0]
            if name != "<module>":
                self.ran.add(f"{module}:{name}")


NOT_NAMED = ("<lambda>", "<listcomp>", "<genexpr>", "<dictcomp>", "__create_fn__")
"""Names of code that is part of what is around it; dataclasses make the last one."""


def left_out(ran: set[str], roots: tuple[str, ...]) -> set[str]:
    clear()
    known = closure(frozenset(roots))
    neutral = (*fingerprint.NEUTRAL, "autos.user_code", "autos.compute")
    return {
        place
        for place in ran
        if place not in known
        and place.partition(":")[0] not in known
        and not place.startswith(neutral)
        and place.partition(":")[2] not in NOT_NAMED
    }


RECIPE = TrainConfig(epochs=1, batch_size=25, optimizer="sgd", lr=0.1, schedule="cosine")
NETWORK = {"architecture": "resnet_20", "width": 0.125, "images": "tiny"}
SCORING = ScoringConfig(per_class=5, batch_size=5, batch_norm="train")
CPU = Hardware(accelerator="cpu")


def test_all_that_runs_in_a_round_is_in_its_key(image_store):
    source = SourceConfig(**NETWORK, rounds=2, scoring=SCORING, train=RECIPE)
    settings = irp.work.Round(
        source=source, images=image_store, hardware=CPU, index=1, previous=None
    )
    with Watch() as watch:
        compute_round(settings)
    assert len(watch.ran) > 40
    assert left_out(watch.ran, ROUND) == set()


@pytest.mark.parametrize("method", ["synflow", "phew", "rigl", "gem_miner", "imp_rewinding"])
def test_all_that_runs_for_a_mask_is_in_its_key(image_store, method):
    trains = method in ("rigl", "gem_miner", "imp_rewinding")
    entry = mask_cells.METHODS[method]
    settings = mask_cells.MaskSettings(
        network=NETWORK,
        images=image_store,
        method=method,
        settings=entry.settings().model_dump(),
        predictor=None,
        inverted=False,
        density=0.3,
        seed=0,
        scoring=SCORING,
        recipe=RECIPE if trains else None,
        hardware=CPU,
    )
    with Watch() as watch:
        find_mask(settings)
    roots = ("autos.grid.mask_cells:find_mask", entry.function.__module__)
    assert left_out(watch.ran, roots) == set()


def test_all_that_runs_for_autos_is_in_its_key(image_store):
    settings = mask_cells.MaskSettings(
        network=NETWORK,
        images=image_store,
        method="autos",
        settings={},
        predictor=ROOT / "pipeline/autos/predictors/shipped",
        inverted=True,
        density=0.3,
        seed=0,
        scoring=SCORING,
        recipe=None,
        hardware=CPU,
    )
    with Watch() as watch:
        find_mask(settings)
    assert left_out(watch.ran, AUTOS) == set()


def test_all_that_runs_in_a_training_is_in_its_key(image_store):
    settings = finetune.FinetuneSettings(
        network=NETWORK,
        images=image_store,
        mask=None,
        start=None,
        step=0,
        trained=False,
        seed=0,
        recipe=RECIPE.model_copy(update={"augmentation": "crop_flip"}),
        hardware=CPU,
    )
    with Watch() as watch:
        finetune.finetune(settings)
    assert left_out(watch.ran, FINETUNE) == set()


def test_the_watch_sees_what_a_key_lacks(image_store):
    """The check itself can fail: without the criterion its function is missed."""
    source = SourceConfig(**NETWORK, rounds=2, scoring=SCORING, train=RECIPE)
    settings = irp.work.Round(
        source=source, images=image_store, hardware=CPU, index=1, previous=None
    )
    with Watch() as watch:
        compute_round(settings)
    assert "autos.methods.criteria.snip:score" in left_out(watch.ran, ROUND[:1])


def test_an_architecture_is_known_by_its_code_and_the_arguments_that_the_registry_gives(
    monkeypatch,
):
    from autos.network import zoo

    digests = {name: zoo.model_digest(name) for name in ("resnet_20", "resnet_32", "lenet_5")}
    assert len(set(digests.values())) == 3
    entries = dict(zoo.architectures())
    monkeypatch.setattr(
        zoo,
        "architectures",
        lambda: {**entries, "resnet_20": partial(entries["resnet_20"], width=2)},
    )
    assert zoo.model_digest("resnet_20") != digests["resnet_20"]
    assert zoo.model_digest("lenet_5") == digests["lenet_5"]
