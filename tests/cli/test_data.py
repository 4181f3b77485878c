"""Data by name: stores, folders of images, the user's code, and noise."""

import sys

import numpy as np
import pytest
import timm
import torch
import torchvision.models
from PIL import Image
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from autos.cli.data import open_data
from autos.cli.noise import image_form, noise
from autos.errors import UserError
from autos.images.datasets import DATASETS
from autos.images.datasets.base import ImageSource
from autos.images.image_set import ImageForm
from autos.images.loaders import ScoringConfig
from autos.network.batches import cross_entropy, run
from autos.storage.zarr_store import store_digest
from models import ARCHITECTURES


@pytest.fixture
def photos(tmp_path):
    """Two classes of 5 and 2 pictures in RGB; dogs are brighter than cats."""
    for name, levels in {"cat": (0, 20, 40, 60, 80), "dog": (180, 220)}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        for level in levels:
            picture = np.full((10, 14, 3), level, np.uint8)
            Image.fromarray(picture).save(tmp_path / "photos" / name / f"{level}.png")
    return tmp_path / "photos"


@pytest.fixture
def user_data(tmp_path, monkeypatch):
    (tmp_path / "user_data.py").write_text(
        "import torch\n"
        "pairs = [(torch.zeros(2, 3, 8, 8), torch.tensor([0, label])) for label in (1, 4)]\n"
        "def generator(): yield from pairs\n"
        "flat = [(torch.zeros(2, 5), torch.zeros(2).long())]\n"
        "wide = [(torch.zeros(2, 3, 8, 9), torch.zeros(2).long())]\n"
        "texts = [{'input_ids': torch.zeros(2, 5).long()}]\n"
        "number = 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "user_data", raising=False)


def read(name, **changes):
    options = {"per_class": 3, "batch_size": 4, "image_size": 6, "seed": 0, **changes}
    return open_data(str(name), **options)


# --- a prepared store ---


def test_a_store_gives_the_batches_of_the_pipeline(image_store, images):
    data = read(image_store, per_class=5, batch_size=6, seed=2)
    want = ScoringConfig(per_class=5, batch_size=6, batch_norm="train").batches(images, seed=2)
    assert len(data.batches) == len(want)
    for (x, y), (wanted_x, wanted_y) in zip(data.batches, want, strict=True):
        assert torch.equal(x, wanted_x) and torch.equal(y, wanted_y)
    assert data.form() == ImageForm(classes=3, channels=1, size=8)
    digest = store_digest(image_store)
    assert data.about == {"name": str(image_store), "sha256": digest, "per_class": 5}


# --- a folder of images ---


def test_a_folder_gives_pictures_of_every_class_standardised(photos):
    data = read(photos)
    assert [len(y) for _, y in data.batches] == [4, 1]
    inputs = torch.cat([x for x, _ in data.batches])
    labels = torch.cat([y for _, y in data.batches])
    assert inputs.shape == (5, 3, 6, 6) and labels.bincount().tolist() == [3, 2]
    torch.testing.assert_close(inputs.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.std(dim=(0, 2, 3)), torch.ones(3))
    bright = inputs.mean(dim=(1, 2, 3))
    assert bright[labels == 1].min() > bright[labels == 0].max(), "labels go with pictures"
    assert data.form() == ImageForm(classes=2, channels=3, size=6)


def test_the_seed_draws_the_pictures_of_a_folder(photos):
    def drawn(seed):
        return torch.cat([x for x, _ in read(photos, seed=seed, per_class=2).batches])

    assert torch.equal(drawn(1), drawn(1))
    assert any(not torch.equal(drawn(1), drawn(seed)) for seed in (2, 3, 4))
    assert read(photos, seed=1).about["sha256"] == read(photos, seed=1).about["sha256"]


def test_of_a_folder_with_a_train_part_that_is_read(photos):
    (photos.parent / "split").mkdir()
    photos.rename(photos.parent / "split" / "train")
    (photos.parent / "split" / "test").mkdir()
    assert read(photos.parent / "split").classes == 2


def test_grey_pictures_have_one_channel(photos):
    for file in photos.rglob("*.png"):
        Image.open(file).convert("L").save(file)
    assert read(photos).form() == ImageForm(classes=2, channels=1, size=6)


def test_pictures_of_one_brightness_stay_finite(photos):
    for file in photos.rglob("*.png"):
        Image.new("RGB", (8, 8)).save(file)
    assert all(x.isfinite().all() for x, _ in read(photos).batches)


def test_a_folder_has_the_classes_and_channels_of_the_pipeline_whatever_lies_about(photos):
    """Leftovers in front of, between and behind the classes, and grey pictures among coloured."""
    clean = read(photos)
    for name in ".ipynb_checkpoints/a.png", "__MACOSX/cat/._0.png", "cat/._0.png", "dog/Thumbs.db":
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(b"left over")
    assert read(photos).about == clean.about
    for (x, y), (clean_x, clean_y) in zip(read(photos).batches, clean.batches, strict=True):
        assert torch.equal(x, clean_x) and torch.equal(y, clean_y)
    for file in (photos / "cat").glob("[2468]0.png"):
        Image.open(file).convert("L").save(file)
    source = ImageSource(kind="image_folder", path=photos, size=6, test=0.4, validation=0.2)
    raw = DATASETS["image_folder"](source)
    for seed in range(6):  # Some of these draw grey cats only.
        data = read(photos, per_class=1, seed=seed)
        assert data.form() == ImageForm(len(raw.classes), raw.train[0].shape[3], 6)
    for file in (photos / "dog").glob("*.png"):
        Image.open(file).convert("L").save(file)
    channels = {read(photos, per_class=1, seed=seed).form().channels for seed in range(12)}
    assert channels == {3}, "only 0.png is coloured now, and it is seldom drawn"


def test_a_damaged_picture_and_a_folder_without_classes_are_named(photos, tmp_path):
    for file in photos.rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"\.png: is no image that can be read"):
        read(photos)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: .*class folder"):
        read(tmp_path / "empty")


# --- the user's code ---


def test_an_iterable_or_a_function_of_the_user_gives_batches(user_data):
    for name in ("user_data:pairs", "user_data:generator"):
        data = read(name)
        for _ in range(2):  # a generator could be read once only
            assert [y.tolist() for _, y in data.batches] == [[0, 1], [0, 4]]
        assert data.form() == ImageForm(classes=5, channels=3, size=8)
        assert data.about == {"name": name}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("user_data:flat", "user_data:flat: what to build the model for is not seen"),
        ("user_data:texts", "user_data:texts: what to build the model for is not seen"),
        ("user_data:wide", "user_data:wide: images of 8 x 9 pixels are not square"),
    ],
)
def test_an_architecture_needs_square_images(name, message, user_data):
    with pytest.raises(UserError, match=message):
        read(name).form()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("user_data:number", "user_data:number: is int, not an iterable of batches"),
        ("rnadom", "unknown data 'rnadom'; did you mean 'random'.*or a folder"),
        ("user_data.py", "unknown data 'user_data.py'"),
    ],
)
def test_what_is_no_data_is_explained(name, message, user_data):
    with pytest.raises(UserError, match=message):
        read(name)


# --- noise ---

SMALL = {"num_attention_heads": 2, "num_hidden_layers": 1}
BERT = BertConfig(vocab_size=30, hidden_size=8, intermediate_size=16, num_labels=4, **SMALL)
VIT = ViTConfig(hidden_size=8, intermediate_size=16, image_size=32, patch_size=8, **SMALL)
GPT2 = GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2, n_positions=16)
T5 = T5Config(vocab_size=30, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2,
              decoder_start_token_id=0)  # fmt: skip


def make_noise(model, *, shape=None, samples=2, seed=0, labelled=True):
    return noise(model.eval(), shape=shape, samples=samples, seed=seed, labelled=labelled)


def lenet(size):
    return ARCHITECTURES["lenet_5"](num_classes=7, in_channels=1, image_size=size, width=1.0)


@pytest.mark.parametrize(
    ("model", "given", "shape", "classes"),
    [
        (lambda: torchvision.models.squeezenet1_1(), None, (3, 224, 224), 1000),
        (lambda: torchvision.models.VisionTransformer(32, 8, 1, 2, 8, 16), None, (3, 32, 32), 1000),
        (lambda: timm.create_model("test_vit", num_classes=5), None, (3, 160, 160), 5),
        (lambda: nn.Sequential(nn.Linear(20, 9), nn.Linear(9, 4)), None, (20,), 4),
        (lambda: lenet(12), (1, 12, 12), (1, 12, 12), 7),
        (lambda: ViTForImageClassification(VIT), None, (3, 32, 32), 2),
    ],
)  # fmt: skip
def test_noise_has_a_shape_that_the_model_takes_and_labels_of_its_classes(
    model, given, shape, classes
):
    data = make_noise(model(), shape=given, samples=64)
    ((inputs, labels),) = data.batches
    assert inputs.shape == (64, *shape) and inputs.dtype == torch.float32
    assert abs(float(inputs.mean())) < 0.1 and 0.9 < float(inputs.std()) < 1.1
    assert labels.shape == (64,) and 0 <= labels.min() <= labels.max() < classes
    assert len(labels.unique()) >= min(classes, 30) - 2
    assert data.about == {"name": "random", "noise": True, "shape": list(shape), "samples": 64}


@pytest.mark.parametrize(
    ("model", "length", "labels"),
    [
        (BertForSequenceClassification(BERT), 32, (64,)),
        (GPT2LMHeadModel(GPT2), 16, (64, 16)),
        (T5ForConditionalGeneration(T5), 32, (64, 32)),
    ],
)
def test_noise_for_a_language_model_is_tokens(model, length, labels):
    ((batch),) = make_noise(model, samples=64).batches
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (64, length)
    assert batch["input_ids"].unique().tolist() == list(range(30))
    assert batch["attention_mask"].all()
    assert batch["labels"].shape == labels
    assert cross_entropy(run(model, batch), batch).isfinite()
    ((short),) = make_noise(model, shape=(5,)).batches
    assert short["input_ids"].shape == (2, 5)


def test_noise_for_segmentation_has_a_label_per_pixel():
    ((_, labels),) = make_noise(nn.Conv2d(3, 4, 1), shape=(3, 8, 9), samples=5).batches
    assert labels.shape == (5, 8, 9) and labels.unique().tolist() == [0, 1, 2, 3]


def test_noise_repeats_by_seed_and_leaves_the_model_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(3))
    model(torch.zeros(2, 3, 224, 224))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (one,), (again,), (other,) = (make_noise(model, seed=seed).batches for seed in (1, 1, 2))
    assert torch.equal(one[0], again[0]) and torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: BertModel(BERT), "random: BertModel has no output of two or more classes"),
        (lambda: nn.Linear(4, 1), "random: Linear has no output of two or more classes.*--loss"),
        (lambda: nn.Conv1d(1, 4, 3), "random: what shape the model takes is not seen.*--shape"),
        (lambda: nn.ReLU(), "ReLU has no prunable weight"),
        (lambda: lenet(12), r"random: .* \(a sample has shape 1,224,224; --shape gives another\)"),
    ],
)
def test_what_noise_cannot_do_is_explained(model, message):
    with pytest.raises(UserError, match=message):
        make_noise(model())


def test_a_loss_of_ones_own_needs_no_labels():
    ((batch),) = make_noise(BertModel(BERT), labelled=False).batches
    assert set(batch) == {"input_ids", "attention_mask"}
    ((inputs, labels),) = make_noise(nn.Linear(4, 1), labelled=False).batches
    assert inputs.shape == (2, 4) and labels.tolist() == [0, 0]


def test_an_architecture_is_built_for_square_noise():
    assert image_form((1, 28, 28)) == ImageForm(classes=10, channels=1, size=28)
    for shape in ((1, 28, 27), (28,)):
        with pytest.raises(UserError, match=r"--shape .*: this model takes square images"):
            image_form(shape)
