"""docs/accuracy.md: its statistics by hand, and no target that a predictor has seen before."""

import gzip
import json
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from autos.grid.cell import MaskTable, ResultRow, ResultTable, Seconds
from autos.grid.finetune import FinetuneConfig
from autos.grid.masks import Variant
from autos.methods.criteria import CRITERIA
from autos.network.spec import NetworkConfig
from autos.report.results import Results
from comparisons import accuracy_images
from comparisons.__main__ import changed
from comparisons.accuracy import (
    MEAN,
    best_hand_made,
    comparisons,
    pooled,
    record,
    seconds,
)
from comparisons.tables import accuracy, comparison_table, seconds_table

T_975 = {2: 4.3026527, 5: 2.5705818}
"""Student's t: 97.5 % quantiles by degrees of freedom, from tables."""

TARGETS = {"a": "clothes", "b": "animals"}
SNIP = {"a": [0.78, 0.80, 0.80], "b": [0.58, 0.60, 0.62]}
AUTOS = {"a": [0.80, 0.82, 0.84], "b": [0.60, 0.64, 0.62]}
"""Minus SNIP: .02 .02 .04 and .02 .04 .00; averaged over the targets .02 .03 .02."""

VALIDATION = {
    "snip": {"a": 0.55, "b": 0.55},
    "random": {"a": 0.90, "b": 0.10},  # the best on a, and on the test images
    "synflow": {"a": 0.50, "b": 0.50},
    "autos": {"a": 0.99, "b": 0.99},
    "irp": {"a": 0.99, "b": 0.99},
    "dense": {"a": 0.99, "b": 0.99},
}


KINDS = {"autos": "predictor", "autos_paper": "predictor", "irp": "iterative", "dense": "dense"}


def accuracies(target, method, density):
    above_snip = {"snip": 0.0, "random": 0.2, "irp": 0.07 if density == 0.1 else -0.01}
    if method == "autos":
        return AUTOS[target]
    return [value + above_snip.get(method, 0.3) for value in SNIP[target]]


def cells(methods=("snip", "random", "autos", "irp"), seeds=3, checks=()):
    for target in TARGETS:
        grid = [(method, density) for method in methods for density in (0.1, 0.01)]
        for method, density in [*grid, ("dense", 1.0)]:
            for seed, value in list(enumerate(accuracies(target, method, density)))[:seeds]:
                for check in [None, *(checks if method != "dense" else ())]:
                    yield ResultRow(
                        target=target,
                        method=method,
                        kind=KINDS.get(method, "score"),
                        check=check,
                        density=density,
                        seed=seed,
                        kept=round(1000 * density),
                        total=1000,
                        flops=1,
                        dense_flops=1,
                        train_loss=[1.0, 0.5],
                        test_accuracy_before=0.1,
                        # The check costs 0, 1 and 2 points, by the seed.
                        test_accuracy=value - (0.01 * seed if check else 0),
                        validation_accuracy=[0.0, VALIDATION[method][target]],
                    )


@pytest.fixture
def results():
    return Results(cells())


@pytest.fixture
def sanity():
    return Results(cells(methods=["autos"], checks=["shuffle"]))


TIMES = {
    "prune/a/synflow/0.1/0": 2.0,
    "prune/a/synflow/0.1/1": 9.0,
    "prune/a/synflow/0.01/0": 4.0,
    "prune/a/autos/0.1/0": 2.0,
    "prune/a/autos/0.1/0/shuffle": 0.0,
}


def test_accuracies_are_averaged_over_the_targets_for_every_seed(results):
    mean = pooled(results)
    assert mean.targets == [MEAN]
    autos = [row.test_accuracy for row in mean.rows[MEAN]["autos"][0.1].values()]
    assert autos == pytest.approx([0.70, 0.73, 0.73])
    assert mean.accuracy(MEAN, "autos", 0.1).percent() == "72.0 ± 1.7"  # 3 points / sqrt(3)


def test_the_best_is_the_score_with_the_highest_validation_accuracy_over_targets(results):
    # Not autos or IRP, which are not made by hand, nor random, which is the best on one target.
    assert best_hand_made(pooled(results), 0.1) == "snip"


def test_a_score_that_does_not_reach_a_density_takes_no_part_there():
    some = cells(methods=["random", "snip", "autos"])
    found = Results(c for c in some if (c.method, c.density) != ("snip", 0.01))
    assert [each.best for each in comparisons(found)] == ["snip", "random"]


def test_the_paper_s_predictor_is_no_hand_made_criterion():
    paper = {"method": "autos_paper", "kind": "predictor"}
    found = [
        cell.model_copy(
            update={**(paper if cell.method == "random" else {}), "validation_accuracy": [0.99]}
        )
        for cell in cells(methods=["random", "snip", "autos"])
    ]
    compared = list(comparisons(Results(found)))
    assert {each.best for each in compared} == {"snip"}
    assert [each.ours for each in compared] == ["autos_paper", "autos"] * 2
    assert compared[0].seeds.mean == pytest.approx(0.2)


def test_seeds_are_what_is_replicated_and_targets_are_fixed(results):
    found = next(comparisons(results))
    assert (found.density, found.ours, found.best) == (0.1, "autos", "snip")
    mean, half = 0.07 / 3, T_975[2] * 0.01 / math.sqrt(3) / math.sqrt(3)
    assert (found.seeds.mean, found.seeds.n) == (pytest.approx(mean), 3)
    assert (found.seeds.low, found.seeds.high) == pytest.approx((mean - half, mean + half))


def test_the_other_interval_is_over_all_pairs_of_target_and_seed(results):
    found = next(comparisons(results))
    # Deviations from the mean of 7/3 points, in thirds of a point: -1 -1 5, -1 5 -7; squared 102.
    mean, half = 0.07 / 3, T_975[5] * math.sqrt(102 / 9 / 5) / 100 / math.sqrt(6)
    assert (found.pairs.mean, found.pairs.n) == (pytest.approx(mean), 6)
    assert (found.pairs.low, found.pairs.high) == pytest.approx((mean - half, mean + half))


def test_the_gap_to_irp_is_closed_by_a_third(results):
    found = next(comparisons(results))
    assert found.gap == pytest.approx(0.07)
    assert found.closed == pytest.approx(1 / 3)
    assert comparison_table([found])[-1].endswith("| 33 % of 7.0 |")


def test_there_is_no_gap_where_irp_is_below_the_best(results):
    _, found = comparisons(results)
    assert (found.density, found.closed) == (0.01, None)
    assert comparison_table([found])[-1].endswith("| none: IRP is -1.0 |")


def test_seconds_are_medians_over_densities_and_seeds_without_checks():
    found = seconds(TIMES)
    assert found == {"synflow": {"a": 4.0}, "autos": {"a": 2.0}}
    assert "| autos | 0.50 |" in seconds_table(found)


def test_the_record_has_every_accuracy_by_seed(results, sanity):
    found = record(results, sanity, TARGETS, seconds(TIMES))
    rows = {(row["target"], row["method"], row["density"]): row for row in found["rows"]}
    assert len(rows) == len(found["rows"]) == 2 * (4 * 2 + 1)
    assert rows["b", "autos", 0.1] == {
        "target": "b",
        "image_set": "animals",
        "density": 0.1,
        "method": "autos",
        "accuracy": AUTOS["b"],
    }
    assert rows["a", "dense", 1.0]["accuracy"] == pytest.approx([1.08, 1.10, 1.10])


def test_the_record_has_differences_checks_and_seconds(results, sanity):
    found = record(results, sanity, TARGETS, seconds(TIMES))
    first, second = found["differences"]
    expected = {"density": 0.1, "ours": "autos", "other": "snip", "n": 3}
    assert {key: first[key] for key in expected} == expected
    assert first["low"] < first["mean"] < first["high"]
    assert first["over_targets_and_seeds"]["n"] == 6
    assert (first["gap_closed"], second["gap_closed"]) == (pytest.approx(1 / 3), None)
    loss = found["checks"][0]
    assert (loss["check"], loss["method"], loss["density"]) == ("shuffle", "autos", 0.1)
    half = T_975[2] * 0.01 / math.sqrt(3)
    assert (loss["mean"], loss["high"]) == (pytest.approx(0.01), pytest.approx(0.01 + half))
    assert {"target": "a", "method": "synflow", "seconds": 4.0} in found["seconds"]


def test_the_record_of_one_seed_is_json_without_nan():
    one = Results(cells(seeds=1))
    found = record(one, Results(cells(seeds=1, checks=["shuffle"])), TARGETS, {})
    assert found["differences"][0]["low"] is None
    json.dumps(found, allow_nan=False)


def test_tables_picture_and_record_come_of_what_the_runs_have_left(tmp_path):
    worse = [
        cell.model_copy(update={"test_accuracy": cell.test_accuracy - 0.02 * cell.seed})
        for cell in cells(methods=["autos"])
        if cell.density != 0.1
    ]
    made = {
        "compare": cells(methods=["synflow", "snip", "autos"]),
        "compare above 1 %": [c for c in cells(methods=["random"]) if c.density != 0.01],
        "sanity": cells(methods=["autos"], checks=["shuffle"]),
        "without unit": worse,
    }
    for run, found in made.items():
        ResultTable(cells=list(found)).save(tmp_path / run / "finetuned/results.json")
        networks = {target: {"images": images} for target, images in TARGETS.items()}
        MaskTable(targets=networks, masks=[]).save(tmp_path / run / "masks/masks.json")
        Seconds(units=TIMES).save(tmp_path / run / "seconds/prune.json")
    lines = accuracy({run: tmp_path / run for run in made}, tmp_path / "accuracy")
    assert "| autos | 72.0 ± 1.7 | 72.0 ± 1.7 |" in lines
    assert "animals, dense: 90.0 ± 2.0." in lines
    assert any(line.startswith("| autos | 10 % | 72.0 ± 1.7 | +1.0 [") for line in lines)
    assert "| AutoS | 1 % |" in lines  # the only density without
    half = 100 * T_975[2] * 0.02 / math.sqrt(3)
    assert f"| without unit | 70.0 ± 1.0, -2.0 [{-2 - half:+.1f}, {-2 + half:+.1f}] |" in lines
    assert (tmp_path / "accuracy.png").exists()
    assert json.loads((tmp_path / "accuracy.json").read_text())["rows"]


# The guard.

ACCURACY = yaml.safe_load(Path("comparisons/accuracy.yaml").read_text())
DEFAULT = yaml.safe_load(Path("params.yaml").read_text())
RUNS = [changed(ACCURACY, changes) for changes in ACCURACY["runs"].values()]


@pytest.mark.parametrize("params", [*RUNS, DEFAULT])
def test_no_predictor_learns_from_a_target(params):
    targets = ACCURACY["prune"]["targets"].values()
    sources = params["irp"]["sources"].values()
    architectures = {target["architecture"] for target in targets}
    assert not architectures & {source["architecture"] for source in sources}

    def image_set(where, network):
        found = where["prepare"]["images"][network["images"]]
        return found["kind"], found.get("path")

    measured_on = {image_set(ACCURACY, target) for target in targets}
    assert not measured_on & {image_set(params, source) for source in sources}
    # These alone hold no image that was seen before; see the tests of them below.
    assert measured_on <= {
        ("image_folder", f"data/raw/accuracy_{name}") for name in ("fashion_mnist", "cifar10")
    }


@pytest.mark.parametrize("run", ["compare", "sanity"])
def test_the_predictors_are_those_of_the_default_pipeline(run):
    params = changed(ACCURACY, ACCURACY["runs"][run])
    for section in ("irp", "train_predictor"):
        assert params[section] == DEFAULT[section]


def test_every_run_has_the_same_targets():
    for params in RUNS:
        assert params["prune"]["targets"] == ACCURACY["prune"]["targets"]


LATER = {"lamp", "igq", "iterative_snip", "force", "ntk_sap", "px"}
"""Scores that the page says are not in it."""


def test_the_page_names_the_scores_that_are_not_in_it():
    page = Path("docs/accuracy.md").read_text()
    (told,) = re.findall(r"((?:`\w+`[, and\n]*)+) came later", page)
    assert set(re.findall(r"`(\w+)`", told)) == LATER


def test_every_score_takes_part_on_every_target_at_every_density():
    prune = ACCURACY["prune"]
    few = changed(ACCURACY, ACCURACY["runs"]["compare above 1 %"])["prune"]
    scores = {*CRITERIA} - LATER
    assert {*prune["methods"], *few["methods"]} == {*scores, "autos_paper", "autos", "irp"}
    assert few["densities"] == [0.1, 0.05, 0.02] and few["seeds"] == prune["seeds"]
    assert len(prune["targets"]) >= 4
    assert prune["densities"] == [0.1, 0.05, 0.02, 0.01]
    assert len(prune["seeds"]) >= 5
    recipes = FinetuneConfig.validated(ACCURACY["finetune"], "finetune").recipes
    assert set(recipes) == set(prune["targets"])
    for network in prune["targets"].values():
        NetworkConfig.validated(network, "target")
    for variant in prune["variants"].values():
        Variant.validated(variant, "variant")


def write_idx(folder, images, labels):
    """The same images and labels for training and test."""
    folder.mkdir()
    for part in ("train", "t10k"):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            content = gzip.compress(head + array.tobytes())
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(content)


def test_targets_have_no_image_of_the_sample_of_fashion_mnist(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_images, "IMAGES", {"train": 3, "test": 2})
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4), np.uint8)
    labels = np.repeat(np.arange(2, dtype=np.uint8), 10)
    drawn = [0, 2, 4, 11, 12, 19]
    write_idx(tmp_path / "full", images, labels)
    write_idx(tmp_path / "sample", images[drawn], labels[drawn])
    accuracy_images.fashion_mnist_images(tmp_path / "full", tmp_path / "sample", tmp_path / "out")
    for split, expected in {"train": [[1, 3, 5], [10, 13, 14]], "test": [[1, 3], [10, 13]]}.items():
        for label, indices in enumerate(expected):
            files = sorted((tmp_path / "out" / split / str(label)).iterdir())
            found = [np.asarray(Image.open(file)) for file in files]
            np.testing.assert_array_equal(found, images[indices])


def test_targets_have_none_of_the_first_images_of_cifar_10(tmp_path, monkeypatch):
    assert accuracy_images.SEEN == {"train": 1000, "test": 200}
    monkeypatch.setattr(accuracy_images, "SEEN", {"train": 3, "test": 2})
    monkeypatch.setattr(accuracy_images, "IMAGES", {"train": 2, "test": 1})
    for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / "full" / place).mkdir(parents=True)
        for name in "fbadce":
            (tmp_path / "full" / place / name).write_text(f"{place}/{name}")
    accuracy_images.cifar10_images(tmp_path / "full", tmp_path / "out")
    found = sorted(file.read_text() for file in (tmp_path / "out").rglob("*") if file.is_file())
    taken = ["test/cat/c", "test/dog/c", "train/cat/d", "train/cat/e", "train/dog/d", "train/dog/e"]
    assert found == taken


def test_too_few_images_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(accuracy_images, "IMAGES", {"train": 1})
    monkeypatch.setattr(accuracy_images, "SEEN", {"train": 1})
    (tmp_path / "full/train/cat").mkdir(parents=True)
    (tmp_path / "full/train/cat/0").write_text("seen")
    with pytest.raises(SystemExit, match="only 0 images are left, but 1 are needed"):
        accuracy_images.cifar10_images(tmp_path / "full", tmp_path / "out")
