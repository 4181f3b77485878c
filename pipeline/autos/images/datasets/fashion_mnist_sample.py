"""A sample of Fashion-MNIST, 17,000 images, that comes with the repository."""

import hashlib
from pathlib import Path

from autos.errors import UserError
from autos.images.datasets._idx import NAMES, read_folder
from autos.images.datasets.base import ImageSource, RawImages
from autos.images.datasets.fashion_mnist import CLASSES, ORIGIN

FOLDER = Path("data/fashion_mnist_sample")
"""Folder of the sample, within the root of the repository."""


def read(source: ImageSource) -> RawImages:
    """Read the sample, whose files must have the bytes that came with the repository.

    Raises:
        UserError: A file is missing or damaged.
    """
    folder = (source.path or FOLDER).expanduser()
    _verify(folder)
    return read_folder(folder, classes=CLASSES, origin=f"sample of {ORIGIN}")


def _verify(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise UserError(f"{sums}: not found; run from the root of the repository")
    expected = sums.read_text().splitlines()
    for file in (folder / f"{name}.gz" for pair in NAMES.values() for name in pair):
        content = file.read_bytes() if file.is_file() else b""
        if f"{hashlib.sha256(content).hexdigest()}  {file.name}" not in expected:
            raise UserError(f"{file}: missing or damaged; run `git checkout -- {folder}`")
