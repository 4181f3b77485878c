"""The user's own images: `<path>/train/<class>/*` with `test/` or `val/`, or `<path>/<class>/*`."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autos.errors import UserError
from autos.images.datasets.base import ImageSource, RawImages, hold_out
from autos.images.pictures import read_pictures

LEFTOVERS = {
    "__macosx",
    "__pycache__",
    "$recycle.bin",
    "@eadir",
    "desktop.ini",
    "icon\r",
    "lost+found",
    "system volume information",
    "thumbs.db",
}
"""Names, in lower case, of what systems and archivers leave in folders, beside hidden files."""


def read(source: ImageSource) -> RawImages:
    """Read the user's images; without test images of their own, some are held out as such.

    Raises:
        UserError: The folder is missing or not laid out as it must be, a file is no image, or
            `test` is set where there are test images or not set where there are none.
    """
    root = source.folder
    if not root.is_dir():
        raise UserError(f"{root}: not found; name the folder of the images in `path`")
    train_root, classes, files, labels = training_files(root)
    test_root = next((root / n for n in ("test", "val") if (root / n).is_dir()), None)
    if train_root == root or test_root is None:
        if source.test is None:
            raise UserError(f"{root}: has no folders train/ and test/; set `test` to a fraction")
        train, test = hold_out(
            labels, source.test, classes=classes, seed=source.seed, setting=f"{root}: test"
        )
    else:
        if source.test is not None:
            raise UserError(f"{test_root}: holds the test images already; remove `test`")
        if extra := set(class_names(test_root)) - set(classes):
            raise UserError(f"{test_root / min(extra)}: is not a class of {train_root}")
        more_files, more_labels = labelled_files(test_root, classes)
        train, test = np.split(np.arange(len(files) + len(more_files)), [len(files)])
        files, labels = files + more_files, np.concatenate([labels, more_labels])
    images, digest = read_pictures(root, files, size=source.size)
    return RawImages(
        train=(images[train], labels[train]),
        test=(images[test], labels[test]),
        classes=classes,
        provenance={"sha256": digest, "test": source.test, "size": source.size},
    )


def training_files(root: Path) -> tuple[Path, list[str], list[Path], np.ndarray]:
    """Find the training images in a folder, which are in its subfolder `train` if it has one.

    Returns:
        The folder of the classes, their names, and what `labelled_files` returns.

    Raises:
        UserError: There are fewer than two classes, or one without a file.
    """
    folder = root / "train" if (root / "train").is_dir() else root
    classes = class_names(folder)
    return folder, classes, *labelled_files(folder, classes)


def class_names(folder: Path) -> list[str]:
    """Return the names of a folder's subfolders, one per class, but for leftovers.

    Raises:
        UserError: There are fewer than two, or a name is not UTF-8.
    """
    names = sorted(f.name for f in folder.iterdir() if f.is_dir() and not _leftover(f.name))
    for name in names:
        if not name.isprintable():  # A byte that is not UTF-8 is a lone surrogate in Python.
            raise UserError(f"{folder}: rename the class folder {name!r} to plain UTF-8 text")
    if len(names) < 2:
        raise UserError(f"{folder}: has {len(names)} class folders; at least 2 are needed")
    return names


def labelled_files(folder: Path, classes: list[str]) -> tuple[list[Path], np.ndarray]:
    """Return all files of all classes, also in folders within them, but for leftovers.

    Returns:
        The files, class by class and sorted within each, and the numbers of their classes [n].

    Raises:
        UserError: A class has no file.
        OSError: A folder cannot be read.
    """
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        members = sorted(_files(folder / name))
        if not members:
            raise UserError(f"{folder / name}: has no images")
        files += members
        labels += [label] * len(members)
    return files, np.array(labels)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and below it; links are followed, and each folder read once."""
    seen = set()
    for place, folders, names in os.walk(folder, onerror=_refused, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else [f for f in folders if not _leftover(f)]
        yield from (Path(place, n) for n in names if real not in seen and not _leftover(n))
        seen.add(real)


def _refused(error: OSError) -> None:
    raise error


def _leftover(name: str) -> bool:
    """Tell whether a file or folder is hidden, or made by an operating system or archiver."""
    return name.startswith(".") or name.casefold() in LEFTOVERS
