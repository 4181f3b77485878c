"""Many image files of any format into one array."""

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from autos.errors import UserError

GRAY = ("1", "L", "LA", "La")
"""Pillow's modes without colour."""

DEEP = ("I", "F")
"""Beginnings of Pillow's modes with more than 8 bits per channel."""


def read_pictures(
    root: Path, files: Sequence[Path], *, size: int | None = None
) -> tuple[np.ndarray, str]:
    """Decode files below `root` to uint8 [n, side, side, channels], and digest them.

    Args:
        root: Folder that the names of the files are relative to in the digest.
        files: Paths of the files, at least one.
        size: Side in pixels to which the central square of every image is resized; without it all
            images must be squares of one size.

    Returns:
        The images, grayscale if all files are and RGB otherwise, and one SHA-256 of the
        files' relative names and contents.

    Raises:
        UserError: A file is no image or has more than 8 bits per channel, or its image is not as
            large as the first one.
    """
    digest = hashlib.sha256()
    pictures: list[np.ndarray] = []
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(lambda file: _decode(file, size), files)
        for file, (picture, checksum) in zip(files, decoded, strict=True):
            side = len(pictures[0]) if pictures else len(picture)
            height, width, _ = picture.shape
            if height != side or width != side:
                raise UserError(
                    f"{file}: {width} x {height} pixels, not {side} x {side}; "
                    "set `size` to resize all images"
                )
            pictures.append(picture)
            digest.update(file.relative_to(root).as_posix().encode() + b"\0" + checksum)
    images = np.empty((len(pictures), side, side, max(p.shape[2] for p in pictures)), np.uint8)
    for image, picture in zip(images, pictures, strict=True):
        image[:] = picture
    return images, digest.hexdigest()


def _decode(file: Path, size: int | None) -> tuple[np.ndarray, bytes]:
    try:
        content = file.read_bytes()
        image = Image.open(io.BytesIO(content))
        picture = image.convert("L" if image.mode in GRAY else "RGB")
    except Exception as error:  # Pillow's decoders raise anything for damaged files.
        reason = "unknown format" if isinstance(error, Image.UnidentifiedImageError) else error
        raise UserError(f"{file}: is no image that can be read ({reason}); remove it") from None
    if image.mode.startswith(DEEP):
        raise UserError(f"{file}: has more than 8 bits per channel; convert it to 8 bits")
    if size is not None:
        picture = ImageOps.fit(picture, (size, size))
    return np.asarray(picture).reshape(picture.height, picture.width, -1), (
        hashlib.sha256(content).digest()
    )
