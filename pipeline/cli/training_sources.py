"""From names on the command line to a network and the images that it is trained on."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from pipeline.cli.data_sources import PREPARED
from pipeline.cli.model_sources import ImageForm, build
from pipeline.errors import UserError, unknown
from pipeline.images import ImageSet


@dataclass(frozen=True)
class TrainingSource:
    """A network at its initialisation, in training mode, and a whole image set."""

    model: nn.Module
    images: ImageSet


def open_images(name: str) -> ImageSet:
    """The image set in a store made by `prepare`: its path, or its name.

    Raises:
        UserError: there is no such store.
    """
    for path in (Path(name), PREPARED / f"{name}.zarr"):
        if path.is_dir() and path.suffix == ".zarr":
            return ImageSet.load(path)
    known = [store.stem for store in PREPARED.glob("*.zarr")]
    raise UserError(
        f"{unknown('image set', name, known)}; training takes a store made by `prepare`"
    )


def open_training(model: str, images: str, *, weights: str | None, seed: int) -> TrainingSource:
    """Network and images by name; an architecture of `models` is built for the images.

    Raises:
        UserError: one of them is not there, or does not fit.
    """
    found = open_images(images)
    form = ImageForm(found.classes, found.channels, found.size)
    network = build(model, seed=seed, form=lambda: form, weights=weights)
    return TrainingSource(network.train(), found)
