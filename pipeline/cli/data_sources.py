"""From the name of data on the command line to batches."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.batches import Batches
from pipeline.cli.model_sources import ImageForm
from pipeline.cli.user_code import explained, load
from pipeline.datasets._pictures import read_pictures
from pipeline.errors import UserError, unknown
from pipeline.images import ImageSet, ScoringConfig
from pipeline.stores import store_digest

PREPARED = Path("data/images")
"""Where `prepare` puts its stores."""


@dataclass(frozen=True)
class Data:
    """Batches to score on.

    Attributes:
        about: provenance, anything that JSON holds.
        classes: how many there are, if it is known without reading the batches.
    """

    batches: Batches
    about: dict[str, Any]
    classes: int | None = None

    def form(self) -> ImageForm:
        """Raises UserError: the batches are no pairs of square images and labels."""
        name = self.about["name"]
        with explained(f"{name}: what to build the model for is not seen from the batches"):
            first, labels = next(iter(self.batches))[0], [y for _, y in self.batches]
            _, channels, height, width = first.shape
            classes = self.classes or 1 + max(int(y.max()) for y in labels)
        if height != width:
            raise UserError(f"{name}: images of {height} x {width} pixels are not square")
        return ImageForm(classes, channels, height)


def open_data(name: str, *, per_class: int, batch_size: int, image_size: int, seed: int) -> Data:
    """The data by that name.

    Args:
        name: a store made by `prepare` (its path, or its name), a folder with a subfolder of
            images per class, or "package.module:batches", an iterable or a function that
            returns one.
        per_class: images drawn from each class of a store or folder.
        image_size: side to which the central square of every image of a folder is resized.
        seed: of what is drawn, and of its order.

    Raises:
        UserError: there is no such data, or it cannot be read.
    """
    path = Path(name)
    prepared = PREPARED / f"{name}.zarr"
    if not path.exists() and ":" in name:
        return _made_by(name)
    if path.is_dir() and path.suffix != ".zarr":
        return _folder(path, per_class, batch_size, image_size, seed)
    if path.is_dir() or prepared.is_dir():
        return _store(name, path if path.is_dir() else prepared, per_class, batch_size, seed)
    known = [store.stem for store in PREPARED.glob("*.zarr")]
    raise UserError(
        f"{unknown('data', name, ['random', *known])}; or a folder with a subfolder of images per "
        "class, or package.module:batches"
    )


def _store(name: str, path: Path, per_class: int, batch_size: int, seed: int) -> Data:
    images = ImageSet.load(path)
    scoring = ScoringConfig(per_class=per_class, batch_size=batch_size, batch_norm="train")
    about = {"name": name, "sha256": store_digest(path), "per_class": per_class}
    return Data(scoring.batches(images, seed=seed), about, images.classes)


def _folder(root: Path, per_class: int, batch_size: int, image_size: int, seed: int) -> Data:
    """Images standardised per channel over all that are drawn."""
    from torchvision.datasets import ImageFolder  # here, as this takes seconds

    with explained(str(root)):
        found = ImageFolder(root / "train" if (root / "train").is_dir() else root)
    generator = torch.Generator().manual_seed(seed)
    targets = torch.tensor(found.targets)
    order = torch.randperm(len(targets), generator=generator)
    drawn = [order[targets[order] == label][:per_class] for label in range(len(found.classes))]
    chosen = torch.cat(drawn)[torch.randperm(sum(map(len, drawn)), generator=generator)]
    files = [Path(found.samples[index][0]) for index in chosen.tolist()]
    pictures, digest = read_pictures(root, files, size=image_size)
    batches = list(
        zip(
            _standardised(torch.from_numpy(pictures)).split(batch_size),
            targets[chosen].split(batch_size),
            strict=True,
        )
    )
    about = {
        "name": str(root),
        "sha256": digest,
        "per_class": per_class,
        "image_size": image_size,
    }
    return Data(batches, about, len(found.classes))


def _standardised(pictures: Tensor) -> Tensor:
    """uint8 [n, side, side, channels] to float32 [n, channels, side, side]."""
    scaled = pictures.permute(0, 3, 1, 2).float().div_(255)
    std, mean = torch.std_mean(scaled, dim=(0, 2, 3), keepdim=True)
    return scaled.sub_(mean).div_(std.clamp_(min=1e-6))


def _made_by(name: str) -> Data:
    batches = load(name)
    if callable(batches):
        with explained(name):
            batches = batches()
    if isinstance(batches, Iterator):
        with explained(name):
            batches = list(batches)
    if not isinstance(batches, Iterable):
        raise UserError(f"{name}: is {type(batches).__name__}, not an iterable of batches")
    return Data(batches, {"name": name})
