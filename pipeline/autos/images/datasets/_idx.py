"""The IDX files of MNIST and its kin (format: Y. LeCun's MNIST page), compressed or not."""

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from autos.errors import UserError, extra
from autos.images.datasets.base import ImageSource, RawImages, find_or_download

NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Names of the files of images and labels, without ".gz", by split."""


def read_standard(
    source: ImageSource, name: str, *, classes: list[str], origin: str, packages: list[Path]
) -> RawImages:
    """Read the image set that torchvision knows as `name`, from a copy or the network.

    Args:
        source: The image set, and where the user's copy is.
        name: Name of torchvision's class.
        classes: Names of the classes.
        origin: Where the image set comes from, for the provenance.
        packages: Folders in which packages of the operating system put a copy.

    Raises:
        UserError: There is no copy and the download fails, or a file is damaged.
    """

    def download(root: Path) -> None:
        with extra("pipeline"):
            import torchvision.datasets  # It takes seconds to import.

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
    """Read an image set from the four IDX files of a folder.

    Args:
        folder: Path of the folder.
        classes: Names of the classes.
        origin: Where the image set comes from, for the provenance.

    Raises:
        UserError: A file is missing, damaged, or does not belong to the other ones.
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
    """Return the array in the content of an IDX file of unsigned bytes.

    Args:
        content: Bytes of the file, uncompressed.
        file: Path of the file, for error messages.
        dimensions: Number of dimensions that the array must have.

    Raises:
        UserError: The content is of another form, or cut short.
    """
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
