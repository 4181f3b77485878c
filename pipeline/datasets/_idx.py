"""The IDX files of MNIST and its kin (format: Y. LeCun's MNIST page), compressed or not."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from pipeline.datasets.base import ImageSource, RawImages, find_or_download
from pipeline.errors import UserError

NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_standard(
    source: ImageSource, name: str, *, classes: list[str], origin: str, packages: list[Path]
) -> RawImages:
    """Read the set that torchvision knows as `name`, from a copy, a package or the network."""

    def download(root: Path) -> None:
        import torchvision.datasets  # here, as this takes seconds

        getattr(torchvision.datasets, name)(root, download=True)

    place = find_or_download(
        source,
        [source.folder, source.folder / name / "raw", *packages],
        wanted="train-* and t10k-* IDX files (.gz or not)",
        complete=lambda place: all(_file(place, n) for pair in NAMES.values() for n in pair),
        download=download,
    )
    return read_folder(place, classes=classes, origin=origin)


def read_folder(folder: Path, *, classes: list[str], origin: str) -> RawImages:
    """Read the four files of a folder.

    Raises:
        UserError: a file is missing, damaged, or does not belong to the other ones.
    """
    splits, digests = {}, {}
    for split, pair in NAMES.items():
        arrays = []
        for name, dimensions in zip(pair, (3, 1), strict=True):
            file = _file(folder, name)
            if file is None:
                raise UserError(f"{folder / name}: not found, nor with .gz")
            content = _content(file)
            arrays.append(parse(content, file, dimensions=dimensions))
            digests[name] = hashlib.sha256(content).hexdigest()
        images, labels = arrays
        if len(images) != len(labels):
            raise UserError(f"{folder}: {len(images)} {split} images, but {len(labels)} labels")
        splits[split] = images[..., None], labels
    return RawImages(**splits, classes=classes, provenance={"origin": origin, "sha256": digests})


def parse(content: bytes, file: Path, *, dimensions: int) -> np.ndarray:
    """The array in the content of an IDX file of unsigned bytes; `file` is for the messages."""
    start = 4 + 4 * dimensions
    if content[:4] != bytes([0, 0, 8, dimensions]) or len(content) < start:
        raise UserError(f"{file}: is no IDX file of unsigned bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) != start + math.prod(shape):
        raise UserError(
            f"{file}: damaged: {len(content)} bytes of content, but its header says "
            f"{start + math.prod(shape)}; delete it or replace it with the original"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _file(folder: Path, name: str) -> Path | None:
    return next((f for f in (folder / name, folder / f"{name}.gz") if f.is_file()), None)


def _content(file: Path) -> bytes:
    try:
        content = file.read_bytes()
        return gzip.decompress(content) if file.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(
            f"{file}: damaged ({error}); delete it or replace it with the original"
        ) from None
