"""The commands `autos analyse ...`: real runs, what they print and draw, and how they fail."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from autos.analyses.concordance import concordance
from autos.analyses.effective_paths import effective
from autos.analyses.overlap import joined, overlap
from autos.cli.app import main
from autos.irp.survival import Survival, write_survival
from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.network.initialize import initialize
from autos.pruning import prune
from models import ARCHITECTURES

RECIPE = """
epochs: 2
batch_size: 15
optimizer: adam
lr: 2.0e-3
schedule: cosine
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current directory, with a recipe."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def autos(capsys):
    """Runs `autos analyse` in this process; returns exit code, stdout and stderr."""

    def run(*arguments):
        capsys.readouterr()
        code = 0
        try:
            main(["analyse", *(str(argument) for argument in arguments)])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def lenet():
    model = ARCHITECTURES["lenet_300_100"](num_classes=3, in_channels=1, image_size=8, width=1.0)
    return initialize(model, 0)


@pytest.fixture
def masks(lenet, batches, folder):
    """Masks of the same density, in the files snip.safetensors and magnitude.safetensors."""
    found = {}
    for name in ("snip", "magnitude"):
        found[name] = prune(lenet, CRITERIA[name], batches, density=0.05)
        found[name].save(folder / f"{name}.safetensors")
    return found


def facts(result):
    code, out, err = result
    assert (code, err) == (0, "")
    return json.loads(out)


def check_plot(path):
    """It is a picture, and not a blank one."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) > 300 and len(np.unique(pixels)) > 10


TRAINING = ("--model", "lenet_300_100", "--recipe", "recipe.yaml", "--data")


def test_connectivity(autos, image_store):
    found = facts(
        autos(
            *("mode-connectivity", *TRAINING, image_store, "--points", 5),
            *("--plot", "plot.png", "--json"),
        )
    )
    assert [row["share_of_first"] for row in found["rows"]] == [0, 0.25, 0.5, 0.75, 1]
    ends = found["rows"][0], found["rows"][-1]
    assert ends[0]["loss"] != ends[1]["loss"]  # two trainings
    summary = found["summary"]
    for name in ("loss", "error"):
        values = [row[name] for row in found["rows"]]
        mean = (values[0] + values[-1]) / 2
        assert summary[f"{name}_barrier_above_mean"] == pytest.approx(max(values) - mean)
        assert summary[f"{name}_barrier_from_line"] >= 0
    assert summary["training_seeds"] == [1, 2] and summary["density"] == 1
    assert found["about"]["recipe"]["batch_size"] == 15
    check_plot("plot.png")


def test_connectivity_under_a_mask_is_repeatable(autos, image_store, masks):
    arguments = ("mode-connectivity", *TRAINING, image_store, "--points", 2, "--json")
    sparse = facts(autos(*arguments, "--mask", "snip.safetensors"))
    assert sparse["summary"]["density"] == masks["snip"].density
    assert facts(autos(*arguments, "--mask", "snip.safetensors")) == sparse
    assert facts(autos(*arguments))["rows"] != sparse["rows"]


def test_gradients(autos, image_store):
    found = facts(
        autos("gradients", *TRAINING, image_store, "--every", 3, "--plot", "plot.png", "--json")
    )
    assert [row["step"] for row in found["rows"]] == [0, 3, 6, 9]
    cosines = np.array(found["cosines"])
    assert np.allclose(cosines.diagonal(), 1) and np.linalg.eigvalsh(cosines).min() > 0
    rows = found["rows"]
    assert [row["with_first"] for row in rows] == list(cosines[0])
    assert [row["with_next"] for row in rows] == [*cosines.diagonal(1), None]
    others = (cosines.sum(axis=1) - 1) / 3
    assert np.allclose([row["mean_with_others"] for row in rows], others)
    assert found["summary"]["mean_cosine"] == pytest.approx(others.mean())
    check_plot("plot.png")


def test_the_gradients_are_about_fifty_unless_told(autos, image_store, folder):
    (folder / "recipe.yaml").write_text(RECIPE.replace("epochs: 2", "epochs: 12"))
    found = facts(autos("gradients", *TRAINING, image_store, "--json"))
    assert found["summary"]["every"] == 2 and len(found["rows"]) == 30


def test_overlap(autos, masks):
    found = facts(
        autos("overlap", "snip.safetensors", "magnitude.safetensors", "--plot", "p.png", "--json")
    )
    layers = overlap(masks["snip"], masks["magnitude"])
    *rows, total = found["rows"]
    assert [row["layer"] for row in rows] == list(masks["snip"].keep)
    for row, layer in (*zip(rows, layers.values(), strict=True), (total, joined(layers))):
        assert row["agreement"] == layer.agreement and row["chance"] == layer.chance
        assert row["jaccard"] == layer.jaccard and row["both"] == layer.both
    check_plot("p.png")


def test_layer_densities(autos, masks):
    found = facts(
        autos(
            *("layer-densities", "snip.safetensors", "magnitude.safetensors"),
            *("--plot", "p.png", "--json"),
        )
    )
    for name, mask in masks.items():
        assert {row["layer"]: row[name] for row in found["rows"]} == mask.layer_densities()
    for name in ("ERK", "uniform"):
        kept = sum(row[name] * row["weights"] for row in found["rows"])
        assert kept == pytest.approx(found["summary"]["kept"])
    check_plot("p.png")


def test_masks_of_one_name_are_told_apart_by_their_folders(autos, masks, folder):
    for name, mask in masks.items():
        mask.save(folder / "all" / name / "0.05.safetensors")
    files = [f"all/{name}/0.05.safetensors" for name in masks]
    found = facts(autos("layer-densities", *files, "--json"))
    assert list(found["rows"][0])[2:] == ["snip/0.05", "magnitude/0.05", "ERK", "uniform"]


def test_effective_paths(autos, masks, lenet, image_store):
    found = facts(
        autos(
            *("effective-paths", "snip.safetensors", "--model", "lenet_300_100"),
            *("--data", image_store, "--plot", "p.png", "--json"),
        )
    )
    want = effective(lenet, masks["snip"], (1, 8, 8))
    densities = want.mask.layer_densities()
    assert {row["layer"]: row["effective_density"] for row in found["rows"]} == densities
    assert {row["layer"]: row["effective_units"] for row in found["rows"]} == want.units
    summary = found["summary"]
    assert summary["effective_density"] == want.mask.density <= summary["density"]
    assert summary["log10_paths"] == want.log10_paths
    assert 10 ** summary["log10_paths_of_dense"] == pytest.approx(64 * 300 * 100 * 3)
    check_plot("p.png")


def test_effective_paths_of_a_torchvision_network_need_no_data(autos, folder):
    """MobileNetV2: normalisation, ReLU6, depthwise convolutions and shortcuts."""
    model = torchvision.models.mobilenet_v2(weights=None)
    dense = Mask.dense(model)
    empty = "features.1.conv.0.0.weight"
    keep = {name: torch.full_like(bits, name != empty) for name, bits in dense.keep.items()}
    dense.save(folder / "dense.safetensors")
    Mask(keep).save(folder / "cut.safetensors")
    command = ("--model", "torchvision:mobilenet_v2", "--shape", "3,32,32", "--json")
    found = facts(autos("effective-paths", "dense.safetensors", *command))
    assert found["summary"]["units"] == found["summary"]["effective_units"]
    assert found["summary"]["log10_paths"] == found["summary"]["log10_paths_of_dense"] > 20
    cut = facts(autos("effective-paths", "cut.safetensors", *command))
    assert cut["summary"]["effective_units"] == 0 and cut["summary"]["log10_paths"] is None


def survival(seed, criterion, shape=(10, 10)):
    draw = np.random.default_rng(seed)
    about = {
        "source": {"criterion": criterion},
        "layers": [{"name": "fc.weight", "offset": 0, "shape": list(shape)}],
        "densities": [0.8, 0.6, 0.4, 0.2],
        "rounds": [],
    }
    weight = np.random.default_rng(0).normal(size=100).astype(np.float32)
    return Survival(
        weight,
        weight,
        np.zeros((100, 4), np.float32),
        draw.integers(0, 5, 100).astype(np.uint16),
        about,
    )


def test_concordance(autos, folder):
    networks = {"a": survival(0, "snip"), "b": survival(1, "magnitude"), "c": survival(0, "snip")}
    write_survival(folder / "scores.zarr", networks)
    found = facts(autos("concordance", "scores.zarr", "--plot", "p.png", "--json"))
    by_pair = {(row["first"], row["second"]): row for row in found["rows"]}
    assert list(by_pair) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert by_pair["a", "c"]["concordance"] == pytest.approx(1)
    want = concordance(networks["a"].survival / 4, networks["b"].survival / 4)
    assert by_pair["a", "b"]["concordance"] == want
    assert by_pair["a", "b"]["criteria"] == "snip / magnitude"
    assert by_pair["a", "b"]["initialisation"] == "same"
    check_plot("p.png")


def test_concordance_between_stores(autos, folder):
    for name, seed in (("one", 0), ("two", 1)):
        write_survival(folder / f"{name}.zarr", {"net": survival(seed, "snip")})
    (row,) = facts(autos("concordance", "one.zarr", "two.zarr", "--json"))["rows"]
    assert (row["first"], row["second"]) == ("one:net", "two:net")


def test_the_table_has_a_row_per_layer_and_the_summary_below(autos, masks):
    code, out, err = autos("overlap", "snip.safetensors", "magnitude.safetensors")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    total = joined(overlap(masks["snip"], masks["magnitude"]))
    counts = [f"{count:,}" for count in (total.total, total.first, total.second, total.both)]
    assert ["total", *counts] in [line[:5] for line in lines]
    for name in masks["snip"].keep:
        assert sum(line[:1] == [name] for line in lines) == 1
    assert "chance with these layer densities" in out


# --- mistakes ---


def mistake(result, *words):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert all(word in err for word in words), err


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["recipe.yaml: not found"]),
        ("{", ["recipe.yaml: not valid YAML"]),
        ("10", ["recipe.yaml: is no recipe", "epochs: 10"]),
        (RECIPE + "speed: 3", ["recipe.yaml.speed: Extra inputs are not permitted"]),
        (RECIPE.replace("epochs: 2", "epochs: 0"), ["recipe.yaml.epochs", "greater than 0"]),
    ],
)
@pytest.mark.parametrize("command", ["mode-connectivity", "gradients"])
def test_a_wrong_recipe(command, content, words, autos, folder, image_store):
    recipe = folder / "recipe.yaml"
    recipe.unlink() if content is None else recipe.write_text(content)
    mistake(autos(command, *TRAINING, image_store, "--plot", "p.png"), *words)
    assert not (folder / "p.png").exists()


def test_a_training_that_fails_leaves_nothing(autos, folder, image_store):
    (folder / "recipe.yaml").write_text(
        "{epochs: 3, batch_size: 15, optimizer: sgd, lr: 1e6, schedule: cosine}"
    )
    result = autos("mode-connectivity", *TRAINING, image_store, "--plot", "p.png")
    mistake(result, "training loss is", "lower the learning rate")
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.yaml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["overlap", "snip.safetensors", "none.safetensors"], ["none.safetensors: not found"]),
        (["overlap", "snip.safetensors", "snip.safetensors"], ["snip.safetensors: is given twice"]),
        (["overlap", "snip.safetensors", "other.safetensors"], ["masks of different networks"]),
        (["layer-densities", "snip.safetensors", "ten.safetensors"], ["of different densities"]),
        (["layer-densities", "recipe.yaml"], ["recipe.yaml: damaged"]),
        (["concordance", "none.zarr"], ["none.zarr: not found"]),
        (["effective-paths", "snip.safetensors", "--model", "lenet_5"], ["does not fit the model"]),
        (
            ["effective-paths", "snip.safetensors", "--model", "lenet_5", "--shape", "1,x"],
            ["--shape 1,x: must be sizes with commas"],
        ),
        (["gradients", *TRAINING, "no_such_set"], ["unknown image set 'no_such_set'"]),
        ([], ["Missing command; see `autos analyse --help`"]),
        (["mode-connectivity"], ["--model", "autos analyse mode-connectivity --help"]),
    ],
)
def test_mistakes_end_in_one_line(arguments, words, autos, masks, lenet, batches, folder):
    prune(lenet, CRITERIA["snip"], batches, density=0.1).save(folder / "ten.safetensors")
    Mask.dense(nn.Linear(2, 2)).save(folder / "other.safetensors")
    mistake(autos(*arguments), *words)


def test_a_mask_of_another_network_is_seen_before_training(autos, folder, image_store):
    Mask.dense(nn.Linear(2, 2)).save(folder / "other.safetensors")
    mistake(
        autos("gradients", *TRAINING, image_store, "--mask", "other.safetensors"),
        "mask does not fit the model",
    )


def test_one_gradient_has_nothing_to_compare_with(autos, image_store):
    mistake(autos("gradients", *TRAINING, image_store, "--every", 100), "lower --every")


@pytest.mark.parametrize("plot", ["p.pdf", "folder", "snip.safetensors/p.png"])
def test_a_plot_that_cannot_be_written_is_seen_first(plot, autos, masks, folder):
    (folder / "folder").mkdir()
    mistake(autos("overlap", "snip.safetensors", "magnitude.safetensors", "--plot", plot), "--plot")


@pytest.mark.parametrize("arguments", [[], ["overlap"]])
def test_help_does_without_torch(arguments):
    code = (
        "import sys; from autos.cli.app import main\n"
        f"try: main(['analyse', *{arguments}, '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'matplotlib', 'yaml'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: autos analyse" in done.stdout
