"""The readers of image sets: what they accept, where they look, and what they refuse."""

import gzip
import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
import zlib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autos.config import Config
from autos.errors import UserError
from autos.images.datasets import DATASETS, _idx, fashion_mnist, tiny_imagenet
from autos.images.datasets.base import ImageSource, RawImages
from autos.images.pictures import read_pictures

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data/fashion_mnist_sample"
DEBIAN = fashion_mnist.DEBIAN


def read(kind: str, path: Path | None = None, **settings) -> RawImages:
    return DATASETS[kind](ImageSource(kind=kind, path=path, validation=0.2, **settings))


def md5(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which this machine serves it."""
    folder = tmp_path / "server"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder)) as http:
        threading.Thread(target=http.serve_forever).start()
        yield folder, f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


# --- settings ---


def test_an_unknown_kind_is_refused_by_its_setting_with_the_nearest_name():
    class Section(Config):
        images: dict[str, ImageSource]

    given = {"images": {"cats": {"kind": "cifer10", "validation": 0.1}}}
    with pytest.raises(UserError, match=r"prepare\.images\.cats\.kind: .*'cifar10'"):
        Section.validated(given, "prepare")


@pytest.mark.parametrize("setting", [{"test": 0.2}, {"size": 8}])
def test_settings_of_folders_are_refused_elsewhere(setting):
    with pytest.raises(ValueError, match="belong to kind 'image_folder'"):
        ImageSource(kind="mnist", validation=0.1, **setting)


def test_the_registry_is_quick_to_import():
    code = "import sys, autos.images.datasets; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# --- the shipped sample ---


def test_the_sample_is_what_its_checksums_say_and_balanced(monkeypatch):
    sums = dict(line.split()[::-1] for line in (SAMPLE / "SHA256SUMS").read_text().splitlines())
    files = sorted(SAMPLE.glob("*.gz"))
    assert {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files} == sums
    assert sum(f.stat().st_size for f in files) <= 8_000_000
    monkeypatch.chdir(ROOT)
    raw = read("fashion_mnist_sample")
    assert raw.train[0].shape == (12_000, 28, 28, 1) and raw.train[0].dtype == np.uint8
    assert np.bincount(raw.train[1]).tolist() == [1_200] * 10
    assert np.bincount(raw.test[1]).tolist() == [500] * 10
    assert len(raw.classes) == 10


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_drawing_the_sample_again_gives_the_same_bytes(tmp_path):
    subprocess.run([sys.executable, SAMPLE / "draw.py", DEBIAN, tmp_path], check=True)
    for file in sorted(SAMPLE.glob("*.gz")):
        again = tmp_path / file.name
        assert gzip.decompress(again.read_bytes()) == gzip.decompress(file.read_bytes())
        if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng compresses to other bytes
            assert again.read_bytes() == file.read_bytes()


def test_drawing_from_other_images_is_refused(tmp_path):
    run = subprocess.run(
        [sys.executable, SAMPLE / "draw.py", SAMPLE, tmp_path], capture_output=True, text=True
    )
    assert run.returncode == 1 and "is not the original" in run.stderr
    assert not list(tmp_path.iterdir())


def test_a_damaged_sample_is_refused(tmp_path):
    folder = shutil.copytree(SAMPLE, tmp_path / "sample")
    file = folder / "t10k-labels-idx1-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=f"{file.name}: missing or damaged"):
        read("fashion_mnist_sample", folder)
    (folder / "SHA256SUMS").write_text("")
    with pytest.raises(UserError, match="train-images"):
        read("fashion_mnist_sample", folder)


def test_the_sample_is_looked_for_from_the_root_of_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="run from the root"):
        read("fashion_mnist_sample")


# --- IDX files ---

IDX = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 10, 20, 30, 40])


def write_idx(folder: Path, shade: int = 0, *, suffix: str = "", labels: int = 20) -> Path:
    """20 training and 10 test images of 4 x 4 pixels that all have one shade."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in ("train", 20), ("t10k", 10):
        targets = bytes(i % 10 for i in range(min(count, labels)))
        for name, content in {
            "images-idx3": struct.pack(">4I", 0x803, count, 4, 4) + bytes([shade]) * count * 16,
            "labels-idx1": struct.pack(">2I", 0x801, len(targets)) + targets,
        }.items():
            packed = gzip.compress(content, mtime=0) if suffix else content
            (folder / f"{part}-{name}-ubyte{suffix}").write_bytes(packed)
    return folder


def test_an_idx_file_by_hand():
    array = _idx.parse(IDX, Path("x"), dimensions=3)
    assert array.tolist() == [[[10, 20]], [[30, 40]]]


@pytest.mark.parametrize(
    ("content", "dimensions"),
    [
        (IDX[:-1], 3),
        (IDX + b"\0", 3),
        (IDX[:10], 3),
        (b"", 3),
        (IDX, 1),
        (IDX.replace(b"\x08", b"\x0d"), 3),
    ],
)
def test_a_bad_idx_file_is_refused_by_name(content, dimensions):
    with pytest.raises(UserError, match=r"^some/file: "):
        _idx.parse(content, Path("some/file"), dimensions=dimensions)


def test_compressed_or_not_an_idx_set_is_the_same(tmp_path):
    plain = read("mnist", write_idx(tmp_path / "plain", 7))
    packed = read("mnist", write_idx(tmp_path / "packed", 7, suffix=".gz"))
    np.testing.assert_array_equal(plain.train[0], np.full((20, 4, 4, 1), 7))
    np.testing.assert_array_equal(plain.train[0], packed.train[0])
    assert plain.test[1].tolist() == list(range(10))
    assert plain.provenance == packed.provenance
    assert str(tmp_path) not in json.dumps(plain.provenance)


def test_a_truncated_gzip_file_is_refused_by_name(tmp_path):
    file = write_idx(tmp_path, suffix=".gz") / "train-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=f"{file}: damaged"):
        read("mnist", tmp_path)


def test_images_without_labels_are_refused(tmp_path):
    with pytest.raises(UserError, match="20 train images, but 15 labels"):
        read("mnist", write_idx(tmp_path, labels=15))


# --- where the standard sets are looked for ---


def shade(raw: RawImages) -> int:
    return int(raw.train[0][0, 0, 0, 0])


def test_a_copy_goes_before_a_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", write_idx(tmp_path / "package", 1))
    assert shade(read("fashion_mnist")) == 1
    write_idx(Path("data/raw/fashion_mnist/FashionMNIST/raw"), 2)
    assert shade(read("fashion_mnist")) == 2
    write_idx(Path("data/raw/fashion_mnist"), 3)
    assert shade(read("fashion_mnist")) == 3
    assert shade(read("fashion_mnist", write_idx(tmp_path / "mine", 4))) == 4


def test_an_incomplete_copy_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "DEBIAN", write_idx(tmp_path / "package", 1))
    mine = write_idx(tmp_path / "mine", 2)
    (mine / "t10k-labels-idx1-ubyte").unlink()
    assert shade(read("fashion_mnist", mine)) == 1


def test_mnist_is_downloaded_when_it_is_nowhere(tmp_path, server, monkeypatch):
    from torchvision.datasets import MNIST

    folder, address = server
    write_idx(folder, 5, suffix=".gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MNIST, "mirrors", [address])
    monkeypatch.setattr(MNIST, "resources", [(f.name, md5(f)) for f in sorted(folder.iterdir())])
    assert shade(read("mnist")) == 5
    shutil.rmtree(folder)
    assert shade(read("mnist")) == 5
    shutil.rmtree("data")
    with pytest.raises(UserError) as error:
        read("mnist")
    assert "data/raw/mnist, data/raw/mnist/MNIST/raw, and the download failed" in str(error.value)
    assert "`path`" in str(error.value) and "\n" not in str(error.value)


def test_cifar10_is_downloaded_and_checked(tmp_path, server, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder, address = server
    pixels = np.arange(20 * 3072).reshape(20, 3072).astype(np.uint8)
    batches = folder / "cifar-10-batches-py"
    batches.mkdir()
    for name, content in {
        "train": {"data": pixels, "labels": list(range(10)) * 2},
        "test": {"data": pixels[:10], "labels": list(range(10))},
        "meta": {"label_names": list("abcdefghij")},
    }.items():
        (batches / name).write_bytes(pickle.dumps(content))
    archive = folder / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(batches, batches.name)
    monkeypatch.setattr(CIFAR10, "url", address + archive.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    monkeypatch.setattr(CIFAR10, "train_list", [["train", md5(batches / "train")]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test", md5(batches / "test")]])
    meta = {"filename": "meta", "key": "label_names", "md5": md5(batches / "meta")}
    monkeypatch.setattr(CIFAR10, "meta", meta)

    copy = tmp_path / "copy"
    raw = read("cifar10", copy)
    np.testing.assert_array_equal(raw.train[0].transpose(0, 3, 1, 2).reshape(20, -1), pixels)
    assert raw.test[1].tolist() == list(range(10)) and raw.classes == list("abcdefghij")

    (copy / batches.name / "test").write_bytes(b"")
    with pytest.raises(UserError, match=f"{copy / batches.name}: incomplete or damaged"):
        read("cifar10", copy)
    archive.unlink()
    with pytest.raises(UserError, match=r"cifar10: no cifar-10-batches-py in .*download failed"):
        read("cifar10", tmp_path / "elsewhere")


# --- folders of image files ---


def paint(file: Path, shade: int | tuple[int, int, int], size: tuple[int, int] = (4, 4)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(shade, int) else "RGB", size, shade).save(file)


def paint_classes(folder: Path, *, count: int = 3, color: bool = False) -> Path:
    """Classes "cat" (dark) and "dog" (light)."""
    for name, base in ("cat", 10), ("dog", 200):
        for i in range(count):
            shade = base + i
            paint(folder / name / f"{i}.png", (shade, 0, 0) if color else shade)
    return folder


def test_a_tree_with_training_and_test_images(tmp_path):
    paint_classes(tmp_path / "train")
    paint_classes(tmp_path / "test", count=1)
    paint(tmp_path / "train/cat/more/z.png", 99)
    (tmp_path / "train/cat/.hidden").write_text("no image")
    (tmp_path / "train/.cache").mkdir()
    raw = read("image_folder", tmp_path)
    assert raw.classes == ["cat", "dog"]
    assert raw.train[0].shape == (7, 4, 4, 1)
    assert raw.train[0][:, 0, 0, 0].tolist() == [10, 11, 12, 99, 200, 201, 202]
    assert raw.train[1].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert raw.test[0][:, 0, 0, 0].tolist() == [10, 200] and raw.test[1].tolist() == [0, 1]


def test_val_may_stand_for_test(tmp_path):
    paint_classes(tmp_path / "train")
    paint_classes(tmp_path / "val", count=2)
    assert len(read("image_folder", tmp_path).test[1]) == 4


@pytest.mark.parametrize("below", ["", "train"])
def test_without_test_images_a_fraction_of_every_class_is_held_out(tmp_path, below):
    paint_classes(tmp_path / below, count=10)
    raw = read("image_folder", tmp_path, test=0.3)
    assert np.bincount(raw.test[1]).tolist() == [3, 3]
    shades = np.concatenate([raw.train[0], raw.test[0]])[:, 0, 0, 0]
    assert sorted(shades) == [*range(10, 20), *range(200, 210)]
    np.testing.assert_array_equal(raw.test[0], read("image_folder", tmp_path, test=0.3).test[0])
    assert (raw.test[0] != read("image_folder", tmp_path, test=0.3, seed=1).test[0]).any()


def test_gray_images_among_colored_ones_become_colored(tmp_path):
    paint_classes(tmp_path, count=4, color=True)
    paint(tmp_path / "cat/gray.png", 77)
    raw = read("image_folder", tmp_path, test=0.25)
    images = np.concatenate([raw.train[0], raw.test[0]])
    assert images.shape == (9, 4, 4, 3)
    assert {tuple(image[0, 0]) for image in images} >= {(77, 77, 77), (10, 0, 0)}


def test_size_cuts_and_resizes(tmp_path):
    paint_classes(tmp_path)
    wide = Image.new("L", (12, 4), 0)
    wide.paste(250, (4, 0, 8, 4))
    wide.save(tmp_path / "dog/wide.png")
    with pytest.raises(UserError, match=r"wide\.png: 12 x 4 pixels, not 4 x 4; set `size`"):
        read("image_folder", tmp_path, test=0.3)
    raw = read("image_folder", tmp_path, test=0.3, size=2)
    images = np.concatenate([raw.train[0], raw.test[0]])
    assert images.shape == (7, 2, 2, 1)
    brightest = images[images.mean(axis=(1, 2, 3)).argmax()]
    assert (brightest > 230).all()  # squeezed into the square it would be half black


def test_other_modes_of_pillow(tmp_path):
    paint_classes(tmp_path)
    Image.new("RGBA", (4, 4), (1, 2, 3, 0)).save(tmp_path / "cat/alpha.png")
    Image.new("RGB", (4, 4), (1, 2, 3)).quantize(2).save(tmp_path / "cat/palette.png")
    Image.new("1", (4, 4), 1).save(tmp_path / "cat/bits.png")
    raw = read("image_folder", tmp_path, test=0.3)
    images = np.concatenate([raw.train[0], raw.test[0]])
    pixels = [tuple(image[0, 0].tolist()) for image in images]
    assert pixels.count((1, 2, 3)) == 2 and pixels.count((255, 255, 255)) == 1
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(tmp_path / "cat/deep.png")
    with pytest.raises(UserError, match=r"deep\.png: has more than 8 bits"):
        read("image_folder", tmp_path, test=0.3)


def test_a_file_that_is_no_image_is_named(tmp_path):
    paint_classes(tmp_path)
    whole = (tmp_path / "dog/1.png").read_bytes()
    for content in b"", b"text", whole[:50], whole.replace(b"IDAT", b"IDAX"):
        (tmp_path / "dog/1.png").write_bytes(content)
        with pytest.raises(UserError, match=r"dog/1\.png: is no image that can be read"):
            read("image_folder", tmp_path, test=0.3)


def test_trees_that_are_refused(tmp_path):
    with pytest.raises(UserError, match="nowhere: not found"):
        read("image_folder", tmp_path / "nowhere")
    (tmp_path / "cat").mkdir()
    with pytest.raises(UserError, match="1 class folders; at least 2"):
        read("image_folder", tmp_path, test=0.3)
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match="cat: has no images"):
        read("image_folder", tmp_path, test=0.3)
    paint_classes(tmp_path)
    with pytest.raises(UserError, match="set `test` to a fraction"):
        read("image_folder", tmp_path)
    with pytest.raises(UserError, match=r"test: 0\.1 of the 3 images of class 'cat' are 0"):
        read("image_folder", tmp_path, test=0.1)


def test_train_and_test_folders_must_agree(tmp_path):
    paint_classes(tmp_path / "train")
    paint_classes(tmp_path / "test")
    with pytest.raises(UserError, match="remove `test`"):
        read("image_folder", tmp_path, test=0.3)
    paint(tmp_path / "test/cow/0.png", 0)
    with pytest.raises(UserError, match="test/cow: is not a class of"):
        read("image_folder", tmp_path)
    shutil.rmtree(tmp_path / "test/cow")
    shutil.rmtree(tmp_path / "test/dog")
    paint(tmp_path / "test/ape/0.png", 0)
    with pytest.raises(UserError, match="test/ape: is not a class of"):
        read("image_folder", tmp_path)


def test_provenance_depends_on_names_and_contents_but_not_on_the_place(tmp_path):
    here = paint_classes(tmp_path / "here")
    there = shutil.copytree(here, tmp_path / "there")
    first = read("image_folder", here, test=0.3).provenance
    assert first == read("image_folder", there, test=0.3).provenance
    assert str(tmp_path) not in json.dumps(first)
    (there / "cat/0.png").rename(there / "cat/00.png")
    assert first != read("image_folder", there, test=0.3).provenance


LEFTOVERS = (
    ".ipynb_checkpoints/0.png",
    "__MACOSX/cat/._0.png",
    "@eaDir/0.png",
    "cat/._0.png",
    "cat/Thumbs.db",
    "cat/desktop.ini",
    "dog/__MACOSX/._0.png",
    "dog/.ipynb_checkpoints/0-checkpoint.png",
)


@pytest.mark.parametrize("below", ["", "train"])
def test_what_systems_leave_behind_is_neither_a_class_nor_an_image(tmp_path, below):
    paint_classes(tmp_path / below, count=4)
    clean = read("image_folder", tmp_path, test=0.25)
    for name in LEFTOVERS:
        (tmp_path / below / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / below / name).write_bytes(b"left over")
    found = read("image_folder", tmp_path, test=0.25)
    assert found.classes == clean.classes == ["cat", "dog"]
    assert found.provenance == clean.provenance
    for got, wanted in zip(found.train + found.test, clean.train + clean.test, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_names_of_files_may_be_no_utf8_and_names_of_classes_may_not(tmp_path):
    paint_classes(tmp_path)
    os.rename(os.fsencode(tmp_path / "cat/0.png"), os.fsencode(tmp_path) + b"/cat/\xff.png")
    images = read("image_folder", tmp_path, test=0.3).train[0]
    assert images.max() >= 200 and images.min() < 200
    (tmp_path / "dog").rename(tmp_path / os.fsdecode(b"d\xffg"))
    with pytest.raises(UserError, match=r"rename the class folder 'd\\udcffg' to plain UTF-8"):
        read("image_folder", tmp_path, test=0.3)


def test_links_are_followed_and_a_loop_ends(tmp_path):
    paint_classes(tmp_path / "data")
    paint(tmp_path / "more/5.png", 55)
    (tmp_path / "data/cat/more").symlink_to(tmp_path / "more")
    (tmp_path / "data/cat/loop").symlink_to(tmp_path / "data/cat")
    (tmp_path / "data/mouse").symlink_to(tmp_path / "data/dog")
    raw = read("image_folder", tmp_path / "data", test=0.3)
    assert raw.classes == ["cat", "dog", "mouse"]
    shades = np.concatenate([raw.train[0], raw.test[0]])[:, 0, 0, 0]
    assert sorted(shades) == [10, 11, 12, 55, 200, 200, 201, 201, 202, 202]


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path):
    paint_classes(tmp_path)
    (tmp_path / "dog/9.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match=r"dog/9\.png: is no file that can be read"):
        read("image_folder", tmp_path, test=0.3)
    (tmp_path / "dog/9.png").unlink()
    os.mkfifo(tmp_path / "dog/9.png")
    with pytest.raises(UserError, match=r"dog/9\.png: is no file that can be read"):
        read("image_folder", tmp_path, test=0.3)


def odd_pictures() -> dict[str, tuple[Image.Image, dict]]:
    """Pictures of one colour, in every mode and format that Pillow writes without loss, and how."""
    red = Image.new("RGB", (4, 4), (200, 0, 0))
    frames = [Image.new("RGB", (4, 4), (0, 0, 200)).quantize(2)]
    deep = np.zeros((4, 4, 3), np.uint8)
    deep[..., 0] = 200
    return {
        "alpha.png": (Image.new("RGBA", (4, 4), (200, 0, 0, 7)), {}),
        "palette.png": (red.quantize(2), {}),
        "transparent.png": (red.quantize(2), {"transparency": 0}),
        "animated.gif": (red.quantize(2), {"save_all": True, "append_images": frames}),
        "animated.png": (red, {"save_all": True, "append_images": [Image.new("RGB", (4, 4))]}),
        "print.tif": (Image.new("CMYK", (4, 4), (55, 255, 255, 0)), {}),
        "web.webp": (red, {"lossless": True}),
        "plain.bmp": (red, {}),
        "plain.ppm": (Image.fromarray(deep), {}),
    }


@pytest.mark.parametrize("name", odd_pictures())
def test_every_form_of_a_red_picture_is_red(tmp_path, name):
    picture, how = odd_pictures()[name]
    picture.save(tmp_path / name, **how)
    images, _ = read_pictures(tmp_path, [tmp_path / name])
    assert images.shape == (1, 4, 4, 3)
    assert (images == (200, 0, 0)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_every_form_of_a_grey_picture_has_one_channel(tmp_path, mode):
    Image.new(mode, (4, 4), (255, 9) if mode == "LA" else 255).save(tmp_path / "a.png")
    images, _ = read_pictures(tmp_path, [tmp_path / "a.png"])
    assert images.shape == (1, 4, 4, 1) and (images == 255).all()


def test_sixteen_bits_of_colour_are_read_by_their_upper_half(tmp_path):
    rows = b"".join(b"\0" + struct.pack(">6H", 200 * 257, 0, 0, 200 * 257, 0, 0) for _ in range(2))

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + sum_

    header = struct.pack(">2I5B", 2, 2, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    images, _ = read_pictures(tmp_path, [tmp_path / "deep.png"])
    assert (images == (200, 0, 0)).all()


def test_every_truncated_picture_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for name in "a.png", "a.jpg", "a.gif", "a.bmp", "a.tif", "a.webp":
        file = tmp_path / name
        Image.fromarray(noise).save(file)
        whole = file.read_bytes()
        for size in (0, 1, 8, 30, len(whole) // 2, len(whole) * 3 // 4):
            file.write_bytes(whole[:size])
            with pytest.raises(UserError, match=f"{name}: is no image that can be read"):
                read_pictures(tmp_path, [file])


def test_a_picture_larger_than_pillow_takes_is_named(tmp_path):
    header = struct.pack(">2I5B", 50_000, 50_000, 8, 2, 0, 0, 0)
    sum_ = struct.pack(">I", zlib.crc32(b"IHDR" + header))
    end = b"\0\0\0\0IDAT\x35\xaf\x06\x1e"
    content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + header + sum_ + end
    (tmp_path / "huge.png").write_bytes(content)
    with pytest.raises(UserError, match=r"huge\.png: is too large \(.*2500000000"):
        read_pictures(tmp_path, [tmp_path / "huge.png"])


def test_more_than_the_memory_holds_is_refused_before_it_is_tried(tmp_path):
    paint_classes(tmp_path)
    with pytest.raises(UserError, match=r"6 images of 9000000 x 9000000 pixels: .* GB are needed"):
        read("image_folder", tmp_path, test=0.3, size=9_000_000)


# --- Tiny ImageNet ---


def paint_tiny_imagenet(root: Path) -> Path:
    for shade, wnid in enumerate(("n01", "n02")):
        (root / f"train/{wnid}").mkdir(parents=True)
        (root / f"train/{wnid}/{wnid}_boxes.txt").write_text("")
        for i in range(5):
            paint(root / f"train/{wnid}/images/{wnid}_{i}.JPEG", (100 * shade,) * 3)
    paint(root / "val/images/val_0.JPEG", 100)
    paint(root / "val/images/val_1.JPEG", 0)
    (root / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\nval_1.JPEG\tn01\t0\n")
    return root


def test_tiny_imagenet_is_downloaded_and_read(tmp_path, server, monkeypatch):
    folder, address = server
    paint_tiny_imagenet(tmp_path / "original/tiny-imagenet-200")
    archive = Path(shutil.make_archive(str(folder / "tiny"), "zip", tmp_path / "original"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tiny_imagenet, "URL", address + archive.name)
    monkeypatch.setattr(tiny_imagenet, "MD5", md5(archive))
    raw = read("tiny_imagenet")
    archive.unlink()
    again = read("tiny_imagenet")
    assert raw.classes == ["n01", "n02"]
    assert raw.train[1].tolist() == [0] * 5 + [1] * 5
    assert raw.test[1].tolist() == [1, 0]
    assert raw.test[0].shape == (2, 4, 4, 3) and raw.test[0][:, 0, 0, 0].tolist() == [100, 0]
    assert raw.provenance == again.provenance
    with pytest.raises(UserError, match=r"tiny_imagenet: no train/ .*download failed"):
        read("tiny_imagenet", tmp_path / "elsewhere")


def test_an_incomplete_tiny_imagenet_is_refused(tmp_path):
    root = paint_tiny_imagenet(tmp_path)
    (root / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\t0\n")
    with pytest.raises(UserError, match=r"val_1\.JPEG: val_annotations\.txt names no class"):
        read("tiny_imagenet", root)
    shutil.rmtree(root / "val/images")
    with pytest.raises(UserError, match="has no images"):
        read("tiny_imagenet", root)
