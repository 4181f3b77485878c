"""Finding data by a name on the command line: batches, or a whole image set."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autos.compute import check_memory
from autos.errors import SettingError, UserError, explained, unknown
from autos.images.datasets.image_folder import training_files
from autos.images.image_set import ImageForm, ImageSet
from autos.images.loaders import ScoringConfig
from autos.images.pictures import read_pictures
from autos.images.store import find_store, prepared
from autos.network.batches import Batches
from autos.storage.zarr_store import store_digest
from autos.user_code import load


@dataclass(frozen=True)
class Data:
    """Batches to score on.

    Attributes:
        batches: The batches.
        about: Provenance, anything that JSON holds.
        classes: Number of classes, if it is known without reading the batches.
    """

    batches: Batches
    about: dict[str, Any]
    classes: int | None = None

    def form(self) -> ImageForm:
        """Return what a network for these batches is built for.

        Raises:
            UserError: The batches are not pairs of square images and labels.
        """
        name = self.about["name"]
        with explained(f"{name}: what to build the model for is not seen from the batches"):
            first, labels = next(iter(self.batches))[0], [y for _, y in self.batches]
            _, channels, height, width = first.shape
            classes = self.classes or 1 + max(int(y.max()) for y in labels)
        if height != width:
            raise UserError(f"{name}: images of {height} x {width} pixels are not square")
        return ImageForm(classes, channels, height)


def open_data(name: str, *, per_class: int, batch_size: int, image_size: int, seed: int) -> Data:
    """Open data by its name.

    Args:
        name: A prepared image set (its name, or the path of its store), a folder with a subfolder
            of images per class, or "package.module:batches", an iterable or a function that
            returns one.
        per_class: Number of images drawn from each class of an image set or folder.
        batch_size: Number of images in a batch.
        image_size: Side to which the central square of every image of a folder is resized.
        seed: Seed of what is drawn, and of its order.

    Raises:
        UserError: There is no such data, or it cannot be read.
    """
    path = Path(name)
    if not path.exists() and ":" in name:
        return _made_by(name)
    if path.is_dir() and path.suffix != ".zarr":
        return _folder(path, per_class, batch_size, image_size, seed)
    if path.is_dir() or name in prepared():
        return _image_set(name, per_class, batch_size, seed)
    raise UserError(
        f"{unknown('data', name, ['random', *prepared()])}; or a folder with a subfolder of images "
        "per class, or package.module:batches"
    )


def open_images(name: str) -> ImageSet:
    """Open a whole image set that the pipeline has prepared.

    Args:
        name: Name of the image set, or path of its store.

    Raises:
        UserError: There is no such image set.
    """
    try:
        return ImageSet.load(find_store(name))
    except SettingError as error:
        raise UserError(
            f"{error}; training takes an image set that the pipeline prepared"
        ) from None


def _image_set(name: str, per_class: int, batch_size: int, seed: int) -> Data:
    path = find_store(name)
    images = ImageSet.load(path)
    scoring = ScoringConfig(per_class=per_class, batch_size=batch_size, batch_norm="train")
    about = {"name": name, "sha256": store_digest(path), "per_class": per_class}
    return Data(scoring.batches(images, seed=seed), about, images.form.classes)


def _folder(root: Path, per_class: int, batch_size: int, image_size: int, seed: int) -> Data:
    """Read images, and standardise each channel over all that are drawn."""
    _, classes, files, labels = training_files(root)
    targets = torch.from_numpy(labels)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(targets), generator=generator)
    drawn = [order[targets[order] == label][:per_class] for label in range(len(classes))]
    chosen = torch.cat(drawn)[torch.randperm(sum(map(len, drawn)), generator=generator)]
    pictures, digest = read_pictures(
        root, [files[i] for i in chosen.tolist()], size=image_size, among=files
    )
    check_memory(f"{root}: {len(pictures):,} images in single precision", 5 * pictures.nbytes)
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
    return Data(batches, about, len(classes))


def _standardised(pictures: Tensor) -> Tensor:
    """Turn uint8 [n, side, side, channels] into float32 [n, channels, side, side]."""
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
