"""Commands with any arguments: they work, or end in one line on stderr with exit code 2."""

import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from itertools import pairwise

import pytest
import torch
from fuzzing import TEXTS, attempt, cases, ending
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from autos.cli.app import main
from autos.cli.data import open_data
from autos.masks.mask import Mask

USER_CODE = """
import torch
from torch import nn

def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 3))

def batches():
    return [(torch.randn(4, 64), torch.tensor([0, 1, 2, 0])) for _ in range(2)]

def squares(output, batch):
    return output.square().mean()

number, empty = 3, []
"""
NAMES = st.sampled_from(TEXTS) | st.text(max_size=6)
NUMBERS = st.sampled_from(["0", "1", "-1", "0.5", "1e-9", "nan", "inf", "1" * 30]) | NAMES
CODE = st.sampled_from([f"user_code:{x}" for x in ("network", "batches", "squares", "number")])
MODEL = st.sampled_from(
    ["user_code:network", "lenet_300_100", "lenet_5", "resnet_20", "torchvision:", "timm:x", "hf:x"]
)
DATA = st.sampled_from(["user_code:batches", "random", "photos", "images.zarr", "user_code:empty"])
FILES = st.sampled_from(
    ["mask.safetensors", "photos", "images.zarr", "recipe.yaml", "user_code.py", "absent", "."]
)
METHODS = st.sampled_from(
    ["snip", "magnitude", "random", "synflow", "erk", "npb", "autos", "autos_paper", "rigl", "gmp"]
)
SETTINGS = st.sampled_from(
    [
        "a=2001-99-99",
        "a=" + "9" * 5000,
        "a=" + "[" * 5000,
        "rounds=2",
        "rounds=0",
        "a",
        "=",
        "a=1",
        "rounds=[",
        "rounds=.nan",
    ]
)
OPTIONS = {
    "--model": MODEL | CODE,
    "--data": DATA | CODE | FILES,
    "--density": NUMBERS,
    "--out": st.sampled_from(["out.safetensors", "deep/out.safetensors", "out", "photos/a"]),
    "--method": METHODS,
    "--set": SETTINGS,
    "--recipe": FILES,
    "--weights": FILES,
    "--predictor": FILES | st.just("models:/x@y"),
    "--loss": CODE,
    "--seed": NUMBERS,
    "--mode": st.sampled_from(["train", "eval", "both"]),
    "--per-class": st.sampled_from(["1", "0", "3", "x"]),
    "--batch-size": st.sampled_from(["1", "0", "2", "x"]),
    "--image-size": st.sampled_from(["8", "0", "32", "x"]),
    "--shape": st.sampled_from(["1,8,8", "3,32,32", "64", "0", "", ",", "1,2,3,4,5"]),
}
WORKING = {
    "--model": "user_code:network",
    "--data": "user_code:batches",
    "--density": "0.5",
    "--out": "out.safetensors",
    "--method": "snip",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, image_store):
    """A folder with what commands can read."""
    folder = tmp_path_factory.mktemp("commands")
    (folder / "user_code.py").write_text(USER_CODE)
    Mask({"1.weight": torch.rand(12, 64) < 0.5}).save(folder / "mask.safetensors")
    recipe = {"epochs": 1, "batch_size": 4, "optimizer": "sgd", "lr": 0.1, "schedule": "cosine"}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    shutil.copytree(image_store, folder / "images.zarr")
    for label in range(3):
        (folder / "photos" / str(label)).mkdir(parents=True)
        Image.new("L", (8, 8), label * 99).save(folder / "photos" / str(label) / "a.png")
    return folder


@pytest.fixture
def here(made, monkeypatch):
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "path", [str(made), *sys.path])
    yield
    sys.modules.pop("user_code", None)


def command(*arguments):
    """Run a command in this process, and return its exit code and what it prints."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with ending(), redirect_stdout(out), redirect_stderr(err):
        try:
            main(list(arguments))
        except SystemExit as stop:
            code = stop.code
    assert code in (0, 2)
    lines = err.getvalue().splitlines()
    if code:
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    return code, out.getvalue()


@st.composite
def prunings(draw):
    """Arguments of a prune that works, of which some are others, missing, or too many."""
    options = dict(WORKING)
    for name in draw(st.lists(st.sampled_from(list(OPTIONS)), min_size=1, max_size=4, unique=True)):
        options[name] = draw(OPTIONS[name] | NAMES)
    for name in draw(st.lists(st.sampled_from(list(WORKING)), max_size=1)):
        options.pop(name, None)
    return [part for pair in options.items() for part in pair]


@cases(quick=10, share=0.1)
@given(arguments=prunings())
def test_prune_works_or_ends_in_a_line(here, arguments):
    code, out = command("prune", *arguments, "--json")
    if code == 0:
        facts = json.loads(out)
        mask, about = Mask.load(facts["file"])
        assert mask.kept == facts["kept"] and about == facts["about"]


WORDS = [
    "prune", "list", "inspect", "analyse", "overlap", "layer-densities", "concordance", "gradients",
    "effective-paths", "mode-connectivity", "--json", "--help", "--version", "--plot", "--",
]  # fmt: skip


@cases(quick=15, share=0.06)
@given(words=st.lists(st.sampled_from(WORDS) | FILES | MODEL | NAMES, max_size=5))
def test_any_words_work_or_end_in_a_line(here, words):
    command(*words)


# --- folders of images ---

MODES = ["L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "F"]
CLASSES = ["cat", "dog", "owl"]
LEFTOVERS = ["._a.png", "Thumbs.db", ".DS_Store", "desktop.ini", "notes.txt", "a.png", "b.jpg"]


@st.composite
def pictures(draw):
    """Name of a file and how it comes about: a mode of Pillow, or bytes that are no image."""
    name = draw(st.sampled_from(LEFTOVERS) | st.text("ab -ü", min_size=1, max_size=4))
    form = draw(st.sampled_from(["png", "gif", "bmp", "tiff", "webp", "jpeg"]))
    cut = draw(st.sampled_from([None, None, None, 0, 1, 30, 60]))
    size = draw(st.sampled_from([(8, 8), (1, 1), (5, 9), (300, 2)]))
    return name, draw(st.sampled_from(MODES)), form, size, cut


def encoded(level, mode, form, size, cut):
    """Bytes of an image of one grey level, of which the rest may be cut off."""
    image = Image.new("L", size, level)
    try:
        image = image.convert(mode)
        file = io.BytesIO()
        image.save(file, form)
    except (OSError, ValueError, KeyError):
        file = io.BytesIO()
        Image.new("L", size, level).save(file, "png")
    return file.getvalue()[:cut]


@cases(quick=12, share=0.08)
@given(
    files=st.lists(st.tuples(st.sampled_from(CLASSES), pictures()), max_size=6),
    junk=st.lists(st.sampled_from([".ipynb_checkpoints", "__MACOSX", ".git"]), max_size=2),
    seed=st.integers(0, 3),
)
def test_pictures_keep_the_labels_of_their_folders(tmp_path_factory, files, junk, seed):
    """Each class has a grey level of its own, which tells in the end whose picture it is."""
    root = tmp_path_factory.mktemp("photos")
    levels = {name: 60 + 60 * label for label, name in enumerate(CLASSES)}
    for name, level in levels.items():
        (root / name).mkdir()
        Image.new("L", (8, 8), level).save(root / name / "0.png")
    for name in junk:
        (root / name).mkdir(exist_ok=True)
        Image.new("L", (8, 8), 255).save(root / name / "0.png")
    for folder, (name, *how) in files:
        (root / folder / name.replace("/", "")).write_bytes(encoded(levels[folder], *how))
    data = attempt(open_data, str(root), per_class=9, batch_size=64, image_size=8, seed=seed)
    if not hasattr(data, "batches"):
        return
    ((images, labels),) = data.batches
    assert set(labels.tolist()) == {0, 1, 2}
    means = images.mean(dim=(1, 2, 3))
    by_class = [means[labels == label] for label in range(3)]
    for lower, higher in pairwise(by_class):
        assert lower.max() < higher.min()
