"""From an image set to the store that the later stages read."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autos.errors import UserError
from autos.images.datasets import DATASETS
from autos.images.datasets.base import ImageSource, RawImages, hold_out
from autos.images.image_set import ImageForm, ImageSet
from autos.images.prepare import prepare

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data/fashion_mnist_sample"


def sample(**settings) -> ImageSource:
    settings = {"validation": 0.1, **settings}
    return ImageSource(kind="fashion_mnist_sample", path=SAMPLE, **settings)


@pytest.fixture
def colors(tmp_path) -> ImageSource:
    """40 RGB images of two classes, 30 and 10, each of one color that no other has."""
    for label, count in ("few", 10), ("many", 30):
        folder = tmp_path / "colors" / label
        folder.mkdir(parents=True)
        for i in range(count):
            color = (200, i, 0) if label == "few" else (i, 3 * i, 250 - i)
            Image.new("RGB", (5, 5), color).save(folder / f"{i:02}.png")
    return ImageSource(
        kind="image_folder", path=tmp_path / "colors", test=0.2, validation=0.25, size=3
    )


# --- held-out images ---


def test_every_class_gives_its_fraction_and_no_index_is_lost():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [100, 50, 10]))
    kept, held = hold_out(labels, 0.3, classes="abc", seed=4, setting="x")
    assert np.bincount(labels[held]).tolist() == [30, 15, 3]
    assert sorted([*kept, *held]) == list(range(160))
    assert (np.diff(kept) > 0).all() and (np.diff(held) > 0).all()


def test_the_seed_decides_which():
    labels = np.repeat([0, 1], 50)
    draws = [hold_out(labels, 0.5, classes="ab", seed=s, setting="x")[1] for s in (1, 1, 2)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


@pytest.mark.parametrize(("fraction", "count"), [(0.1, 0), (0.9, 4)])
def test_no_part_may_lack_a_class(fraction, count):
    labels = np.array([0] * 20 + [1] * 4)
    with pytest.raises(UserError, match=f"mine: {fraction} of the 4 .* 'dog' are {count}"):
        hold_out(labels, fraction, classes=["cat", "dog"], seed=0, setting="mine")


# --- the store ---


def test_the_sample_is_stored_whole_in_three_splits(tmp_path):
    about = prepare(sample(), tmp_path / "sample.zarr")
    images = ImageSet.load(tmp_path / "sample.zarr")
    assert about == images.about
    assert about["kind"] == "fashion_mnist_sample" and about["seed"] == 0
    assert about["sizes"] == {"train": 10_800, "validation": 1_200, "test": 5_000}
    assert [len(s) for s in (images.train, images.validation, images.test)] == [
        *about["sizes"].values()
    ]
    assert images.form == ImageForm(10, 1, 28)
    for split, count in (images.train, 1_080), (images.validation, 120), (images.test, 500):
        assert split.labels.bincount().tolist() == [count] * 10

    raw = DATASETS["fashion_mnist_sample"](sample())
    stored = np.concatenate([images.train.images, images.validation.images])
    labels = np.concatenate([images.train.labels, images.validation.labels])
    want = [img.tobytes() + bytes([label]) for img, label in zip(*raw.train, strict=True)]
    have = [img.tobytes() + bytes([label]) for img, label in zip(stored, labels, strict=True)]
    assert sorted(have) == sorted(want)
    np.testing.assert_array_equal(images.test.images, raw.test[0])
    np.testing.assert_array_equal(images.test.labels, raw.test[1])


def test_mean_and_std_are_those_of_the_training_pixels(tmp_path, colors):
    about = prepare(colors, tmp_path / "out")
    pixels = ImageSet.load(tmp_path / "out").train.images.numpy() / 255
    np.testing.assert_allclose(about["mean"], pixels.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(about["std"], pixels.std(axis=(0, 1, 2)), rtol=1e-12)
    assert len(about["mean"]) == 3


def test_the_splits_of_a_folder_are_disjoint_and_stratified(tmp_path, colors):
    about = prepare(colors, tmp_path / "out")
    images = ImageSet.load(tmp_path / "out")
    splits = [images.train, images.validation, images.test]
    seen = [{tuple(image[0, 0].tolist()) for image in split.images} for split in splits]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 40
    assert [split.labels.bincount().tolist() for split in splits] == [[6, 18], [2, 6], [2, 6]]
    assert about["classes"] == ["few", "many"]
    assert str(tmp_path) not in json.dumps(about)


def contents(store: Path) -> dict[str, bytes]:
    return {str(f.relative_to(store)): f.read_bytes() for f in store.rglob("*") if f.is_file()}


def test_preparing_again_gives_the_same_bytes(tmp_path, colors):
    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    prepare(colors, first)
    prepare(colors, second)
    prepare(colors.model_copy(update={"seed": 1}), other)
    assert contents(first) == contents(second) != contents(other)
    prepare(colors, other)
    assert contents(first) == contents(other)


# --- what is refused ---


def write_mnist(folder: Path, *, shape: tuple[int, int] = (4, 4), labels: int = 10) -> ImageSource:
    for part in "train", "t10k":
        head = struct.pack(">4I", 0x803, 100, *shape)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(head + bytes(100 * shape[0] * shape[1]))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(
            struct.pack(">2I", 0x801, 100) + bytes(i % labels for i in range(100))
        )
    return ImageSource(kind="mnist", path=folder, validation=0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (4, 6)}, r"training images must be .* not uint8 \[100, 4, 6, 1\]"),
        ({"labels": 11}, "labels from 0 to 10, but the 10 classes"),
        ({"labels": 9}, r"mnist: validation: 0.2 of the 0 images of class '9'"),
    ],
)
def test_images_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, change, message):
    source = write_mnist(tmp_path, **change)
    with pytest.raises(UserError, match=message):
        prepare(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


GOOD = np.zeros((20, 2, 2, 1), np.uint8), np.repeat([0, 1], 10)


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ((GOOD[0].astype(float), GOOD[1]), "the test images must be uint8 .* not float64"),
        ((GOOD[0][..., 0], GOOD[1]), r"\[20, 2, 2\]"),
        ((np.zeros((20, 3, 3, 1), np.uint8), GOOD[1]), "differ from the training images"),
        ((GOOD[0], GOOD[1][:9]), "number 20, their labels 9"),
        ((GOOD[0][:0], GOOD[1][:0]), "number 0, their labels 0"),
        ((GOOD[0], GOOD[1] - 1), "labels from -1 to 0"),
    ],
)
def test_a_new_reader_is_a_line_in_the_registry_and_its_images_are_checked(
    tmp_path, monkeypatch, test, message
):
    raw = {"train": GOOD, "classes": ["a", "b"], "provenance": {}}
    monkeypatch.setitem(DATASETS, "mine", lambda source: RawImages(test=GOOD, **raw))
    source = ImageSource(kind="mine", validation=0.5)
    assert prepare(source, tmp_path / "good")["sizes"]["validation"] == 10
    monkeypatch.setitem(DATASETS, "mine", lambda source: RawImages(test=test, **raw))
    with pytest.raises(UserError, match=message):
        prepare(source, tmp_path / "bad")
