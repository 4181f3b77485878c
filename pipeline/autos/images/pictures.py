"""Many image files of any format into one array."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from autos.compute import check_memory
from autos.errors import UserError, brief

GRAY = ("1", "L", "LA", "La")
"""Pillow's modes without colour."""

DEEP = ("I", "F")
"""Beginnings of Pillow's modes with more than 8 bits per channel."""


def read_pictures(
    root: Path, files: Sequence[Path], *, size: int | None = None, among: Sequence[Path] = ()
) -> tuple[np.ndarray, str]:
    """Decode files below `root` to uint8 [n, side, side, channels], and digest them.

    Of an animation, the first image is read; transparency is dropped.

    Args:
        root: Folder that the names of the files are relative to in the digest.
        files: Paths of the files, at least one.
        size: Side in pixels to which the central square of every image is resized; without it all
            images must be squares of one size.
        among: All files of the image set that the files were drawn from. It is grayscale or RGB
            as a whole, whatever is drawn.

    Returns:
        The images, grayscale if all files are and RGB otherwise, and one SHA-256 of the
        files' relative names and contents.

    Raises:
        UserError: A file is no image or has more than 8 bits per channel, its image is not as
            large as the first one, or all of them together are larger than the memory.
    """
    channels = 3 if any(_header(file)[0] not in GRAY for file in among or files) else 1
    side = size or _header(files[0])[1]
    check_memory(
        f"{root}: {len(files):,} images of {side} x {side} pixels", len(files) * side**2 * channels
    )
    images = np.empty((len(files), side, side, channels), np.uint8)
    digest = hashlib.sha256()
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(lambda file: _decode(file, size), files)
        for image, file, (picture, checksum) in zip(images, files, decoded, strict=True):
            height, width, _ = picture.shape
            if height != side or width != side:
                raise UserError(
                    f"{file}: {width} x {height} pixels, not {side} x {side}; "
                    "set `size` to resize all images"
                )
            image[:] = picture
            # A name may have bytes that are not UTF-8.
            name = file.relative_to(root).as_posix().encode(errors="surrogateescape")
            digest.update(name + b"\0" + checksum)
    return images, digest.hexdigest()


def _header(file: Path) -> tuple[str, int]:
    """Return Pillow's mode of an image, and its height."""
    with _reading(file), Image.open(file) as image:
        return image.mode, image.height


def _decode(file: Path, size: int | None) -> tuple[np.ndarray, bytes]:
    with _reading(file):
        content = file.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            if image.mode.startswith(DEEP):
                raise UserError(f"{file}: has more than 8 bits per channel; convert it to 8 bits")
            picture = image.convert("L" if image.mode in GRAY else "RGB")
        if size is not None:
            picture = ImageOps.fit(picture, (size, size))
        pixels = np.asarray(picture).reshape(picture.height, picture.width, -1)
    return pixels, hashlib.sha256(content).digest()


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Name the file in whatever is raised while it is read."""
    if not file.is_file():  # Reading a pipe would wait for ever.
        raise UserError(f"{file}: is no file that can be read; remove it")
    try:
        yield
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"{file}: is too large ({brief(error)}); make it smaller") from None
    except Exception as error:  # Pillow's decoders raise anything for damaged files.
        unknown = isinstance(error, Image.UnidentifiedImageError)
        reason = "unknown format" if unknown else brief(error) or type(error).__name__
        raise UserError(f"{file}: is no image that can be read ({reason}); remove it") from None
