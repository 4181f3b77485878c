"""The user's own images: `<path>/train/<class>/*` with `test/` or `val/`, or `<path>/<class>/*`."""

from pathlib import Path

import numpy as np

from autos.errors import UserError
from autos.images.datasets.base import ImageSource, RawImages, hold_out
from autos.images.pictures import read_pictures


def read(source: ImageSource) -> RawImages:
    """Read the user's images; without test images of their own, some are held out as such.

    Raises:
        UserError: The folder is missing or not laid out as it must be, a file is no image, or
            `test` is set where there are test images or not set where there are none.
    """
    root = source.folder
    if not root.is_dir():
        raise UserError(f"{root}: not found; name the folder of the images in `path`")
    train_root = root / "train" if (root / "train").is_dir() else root
    classes = class_names(train_root)
    files, labels = labelled_files(train_root, classes)
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


def class_names(folder: Path) -> list[str]:
    """Return the names of a folder's subfolders, one per class, without hidden ones.

    Raises:
        UserError: There are fewer than two.
    """
    names = sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))
    if len(names) < 2:
        raise UserError(f"{folder}: has {len(names)} class folders; at least 2 are needed")
    return names


def labelled_files(folder: Path, classes: list[str]) -> tuple[list[Path], np.ndarray]:
    """Return all files of all classes, also in folders within them, but for hidden ones.

    Returns:
        The files, class by class and sorted within each, and the numbers of their classes [n].

    Raises:
        UserError: A class has no file.
    """
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = (f for f in (folder / name).rglob("*") if f.is_file())
        members = sorted(f for f in found if not _hidden(f.relative_to(folder)))
        if not members:
            raise UserError(f"{folder / name}: has no images")
        files += members
        labels += [label] * len(members)
    return files, np.array(labels)


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
