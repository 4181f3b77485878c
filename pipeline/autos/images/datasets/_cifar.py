"""CIFAR-10 and CIFAR-100 in the form of their makers, which torchvision checks and reads."""

from typing import Any

import numpy as np

from autos.errors import UserError, extra
from autos.images.datasets.base import ImageSource, Labelled, RawImages, find_or_download


def read_standard(source: ImageSource, name: str) -> RawImages:
    """Read the image set that torchvision knows as `name`, from a copy or the network.

    Raises:
        UserError: There is no copy and the download fails, the files are damaged, or torchvision
            is not installed.
    """
    with extra("pipeline"):
        import torchvision.datasets  # It takes seconds to import.

    dataset = getattr(torchvision.datasets, name)
    root = find_or_download(
        source,
        [source.folder],
        wanted=dataset.base_folder,
        complete=lambda place: (place / dataset.base_folder).is_dir(),
        download=lambda root: dataset(root, download=True),
    )
    try:
        train, test = dataset(root, train=True), dataset(root, train=False)
    except RuntimeError:
        raise UserError(
            f"{root / dataset.base_folder}: incomplete or damaged (a file's MD5 is not the "
            "original's); delete it or replace it with the original"
        ) from None
    return RawImages(
        train=_labelled(train),
        test=_labelled(test),
        classes=list(train.classes),
        provenance={"origin": dataset.url, "md5": dataset.tgz_md5},
    )


def _labelled(part: Any) -> Labelled:
    return np.ascontiguousarray(part.data), np.array(part.targets)
