"""Prepared images: standardised for training, and drawn class by class for scoring."""

from pathlib import Path

import numpy as np
import pytest
import torch

from autos.errors import DamagedFileError, UserError
from autos.images.image_set import ImageForm, ImageSet
from autos.images.loaders import ScoringConfig
from autos.images.store import KIND, SPLITS, VERSION, write_images
from autos.storage.zarr_store import write_store


@pytest.fixture(scope="module")
def colour(tmp_path_factory):
    """4x4 colour images with a range of values for each channel: 40, 10 and 10 of 4 classes."""
    rng = np.random.default_rng(0)
    low, high = np.array([0, 50, 200]), np.array([256, 60, 240])

    def draw(count):
        return rng.integers(low, high, (count, 4, 4, 3)).astype(np.uint8), np.arange(count) % 4

    path = tmp_path_factory.mktemp("colour") / "set.zarr"
    splits = {"train": draw(40), "validation": draw(10), "test": draw(10)}
    write_images(path, splits, {"classes": list("abcd")})
    return ImageSet.load(path), splits


def test_the_store_gives_back_what_was_written(colour):
    images, splits = colour
    for name, (pixels, labels) in splits.items():
        split = getattr(images, name)
        assert split.images.dtype == torch.uint8 and split.labels.dtype == torch.int64
        np.testing.assert_array_equal(split.images.numpy(), pixels)
        np.testing.assert_array_equal(split.labels.numpy(), labels)
    assert images.form == ImageForm(4, 3, 4)


def test_normalised_training_images_have_mean_0_and_deviation_1_in_every_channel(colour):
    images, _ = colour
    x = images.normalize(images.train.images)
    assert x.shape == (40, 3, 4, 4) and x.dtype == torch.float32
    moments = x.double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(moments.mean(dim=1), torch.zeros(3).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        moments.std(dim=1, correction=0), torch.ones(3).double(), rtol=1e-5, atol=0
    )


def test_other_splits_are_scaled_as_the_training_images_are(colour):
    images, splits = colour
    train = splits["train"][0] / 255
    expected = (splits["test"][0] / 255 - train.mean(axis=(0, 1, 2))) / train.std(axis=(0, 1, 2))
    x = images.normalize(images.test.images).permute(0, 2, 3, 1)
    np.testing.assert_allclose(x.numpy(), expected, rtol=1e-4, atol=1e-4)


def scoring(**settings):
    return ScoringConfig(**{"per_class": 5, "batch_size": 6, "batch_norm": "eval"} | settings)


def drawn(images, batches):
    """Indices of the training images in the batches."""
    every = images.normalize(images.train.images).flatten(1)
    inputs = torch.cat([x for x, _ in batches]).flatten(1)
    matches = (inputs[:, None] == every[None]).all(dim=2)
    assert bool((matches.sum(dim=1) == 1).all())
    return matches.int().argmax(dim=1)


def test_scoring_batches_are_balanced_training_images_with_their_labels(colour):
    images, _ = colour
    batches = scoring().batches(images, seed=0)
    assert [len(labels) for _, labels in batches] == [6, 6, 6, 2]
    indices, labels = drawn(images, batches), torch.cat([y for _, y in batches])
    assert len(set(indices.tolist())) == 20
    assert torch.equal(images.train.labels[indices], labels)
    assert labels.bincount().tolist() == [5] * 4
    assert not torch.equal(labels, labels.sort().values)


def test_scoring_batches_repeat_with_the_seed(colour):
    images, _ = colour
    one, again, other = (drawn(images, scoring().batches(images, seed=s)) for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert set(one.tolist()) != set(other.tolist())


def test_the_batch_size_does_not_change_which_images_are_drawn(colour):
    images, _ = colour
    sizes = [drawn(images, scoring(batch_size=size).batches(images, seed=0)) for size in (1, 6, 99)]
    assert torch.equal(sizes[0], sizes[1]) and torch.equal(sizes[1], sizes[2])


def test_a_class_with_too_few_images_gives_all_it_has(colour):
    images, _ = colour
    batches = scoring(per_class=11, batch_size=99).batches(images, seed=0)
    assert sorted(drawn(images, batches).tolist()) == list(range(40))


def test_a_missing_store_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"none\.zarr: not found"):
        ImageSet.load(tmp_path / "none.zarr")


# --- stores that hold something else ---

ABOUT = {"classes": ["a", "b"], "mean": [0.5], "std": [0.25]}


def parts(**changes: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of a small image set, some of them changed."""
    arrays = {f"{split}/images": np.zeros((2, 4, 4, 1), np.uint8) for split in SPLITS}
    arrays |= {f"{split}/labels": np.arange(2, dtype=np.uint16) for split in SPLITS}
    return arrays | {name.replace("_", "/"): values for name, values in changes.items()}


def stored(path: Path, arrays: dict[str, np.ndarray], about: dict) -> Path:
    write_store(path, arrays, kind=KIND, version=VERSION, about=about)
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"train_images": np.zeros((2, 4, 4, 3), np.uint8)},
        {"train_images": np.zeros((2, 4, 5, 1), np.uint8)},
        {"train_images": np.zeros((2, 4, 4, 1), np.float32)},
        {"test_images": np.zeros((2, 8, 8, 1), np.uint8)},
        {"test_images": np.zeros(2, np.uint8)},
        {"test_labels": np.arange(3, dtype=np.uint16)},
        {"test_labels": np.arange(2, dtype=np.int64)},
        {"test_labels": np.full(2, 2, np.uint16)},
    ],
)
def test_arrays_that_are_no_image_set_are_refused(tmp_path, change):
    ImageSet.load(stored(tmp_path / "good.zarr", parts(), ABOUT))
    with pytest.raises(DamagedFileError, match=r"bad\.zarr: "):
        ImageSet.load(stored(tmp_path / "bad.zarr", parts(**change), ABOUT))


def test_missing_arrays_are_refused(tmp_path):
    for name in parts():
        arrays = {key: values for key, values in parts().items() if key != name}
        with pytest.raises(DamagedFileError, match=r"a\.zarr: "):
            ImageSet.load(stored(tmp_path / f"{name.replace('/', '-')}a.zarr", arrays, ABOUT))


@pytest.mark.parametrize("key", ABOUT)
@pytest.mark.parametrize("value", [None, 5, "a", [], [None], [float("nan")], {"a": 1}])
def test_a_description_of_something_else_is_refused(tmp_path, key, value):
    for about in ({**ABOUT, key: value}, {k: v for k, v in ABOUT.items() if k != key}):
        with pytest.raises(DamagedFileError, match=r"a\.zarr"):
            ImageSet.load(stored(tmp_path / f"{len(about)}a.zarr", parts(), about))
