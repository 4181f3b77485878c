"""Tiny ImageNet (Stanford CS231n): 110,000 photographs of 200 kinds of things, 64 x 64 RGB.

Its test labels were never published, so its validation images are the test images here.
"""

import os
from pathlib import Path

import numpy as np

from autos.errors import UserError, extra
from autos.images.datasets.base import ImageSource, RawImages, find_or_download
from autos.images.pictures import read_pictures

NAME = "tiny-imagenet-200"
URL = f"http://cs231n.stanford.edu/{NAME}.zip"
MD5 = "90528d7ca1a48142e341f4ef8d21d0de"
ANNOTATIONS = Path("val/val_annotations.txt")


def read(source: ImageSource) -> RawImages:
    """Read the image set, from a copy or the network.

    Raises:
        UserError: There is no copy and the download fails, or the files are incomplete or damaged.
    """
    root = find_or_download(
        source,
        [source.folder, source.folder / NAME],
        wanted=f"train/ and {ANNOTATIONS}",
        complete=lambda place: (place / "train").is_dir() and (place / ANNOTATIONS).is_file(),
        download=_download,
    )
    train = [
        (file, wnid.name)
        for wnid in sorted((root / "train").iterdir())
        for file in sorted(wnid.glob("images/*.JPEG"))
    ]
    classes = sorted({wnid for _, wnid in train})
    rows = (line.split("\t") for line in (root / ANNOTATIONS).read_text().splitlines())
    wnids = {row[0]: row[1] for row in rows if len(row) > 1}
    test = [(f, wnids.get(f.name, "")) for f in sorted((root / "val/images").glob("*.JPEG"))]
    if not train or not test:
        raise UserError(f"{root}: has no images train/*/images/*.JPEG or val/images/*.JPEG")
    for file, wnid in test:
        if wnid not in classes:
            raise UserError(f"{file}: {ANNOTATIONS.name} names no class of train/ for it")
    images, digest = read_pictures(root, [file for file, _ in train + test])
    labels = np.searchsorted(classes, [wnid for _, wnid in train + test])
    return RawImages(
        train=(images[: len(train)], labels[: len(train)]),
        test=(images[len(train) :], labels[len(train) :]),
        classes=classes,
        provenance={"origin": URL, "sha256": digest},
    )


def _download(root: Path) -> None:
    with extra("pipeline"):  # Torchvision takes seconds to import.
        from torchvision.datasets.utils import download_and_extract_archive

    unpacked = root / ".unpacking"  # An interrupted run leaves no incomplete set.
    download_and_extract_archive(URL, root, extract_root=unpacked, md5=MD5)
    os.replace(unpacked / NAME, root / NAME)
    unpacked.rmdir()
