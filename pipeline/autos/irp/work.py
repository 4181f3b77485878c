"""Iterative rewind pruning as resumable units of work, and the dataset that comes of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from autos.compute import Hardware
from autos.config import Config
from autos.images.image_set import ImageSet
from autos.irp.config import SourceConfig
from autos.irp.rounds import one_round
from autos.irp.start import FEATURES, GRADIENT, WEIGHT, at_start
from autos.irp.survival import Survival
from autos.masks.mask import Mask
from autos.methods.criteria import CRITERIA
from autos.storage.zarr_store import store_digest
from autos.work.units import Result, Unit, read_result


class Start(Config):
    """Settings of a unit that computes what is known at initialisation."""

    source: SourceConfig
    """Settings of the source."""
    images: Path
    """Store of the image set."""
    hardware: Hardware
    """Where to train and score."""


def start(settings: Start) -> Result:
    """Compute the tensors of `at_start`."""
    source, images = settings.source, ImageSet.load(settings.images)
    device = settings.hardware.device
    model = source.build(images, seed=source.seed).to(device)
    model.train(source.scoring.batch_norm == "train")
    batches = source.scoring.batches(images, seed=source.seed, device=device)
    return Result(at_start(model, batches), {})


class Round(Start):
    """Settings of a unit that computes one round."""

    index: int
    """Number of the round, from 1."""
    previous: Path | None
    """Result of the round before."""


def compute_round(settings: Round) -> Result:
    """Compute the mask after a round; it is described by its density and by the training."""
    from autos.training.loop import fit  # Lightning takes seconds to import.

    source, images = settings.source, ImageSet.load(settings.images)
    initial = source.build(images, seed=source.seed)

    def train(model: nn.Module, mask: Mask) -> dict[str, list[float]]:
        # Every round has the same seed, so that the order of the images is rewound, too.
        history = fit(
            model,
            images,
            source.train,
            seed=source.training_seed,
            mask=mask,
            hardware=settings.hardware,
        )
        model.to(settings.hardware.device).train(source.scoring.batch_norm == "train")
        return asdict(history)

    previous = settings.previous
    mask, history = one_round(
        initial,
        Mask(read_result(previous).tensors) if previous else Mask.dense(initial),
        density=source.densities[settings.index - 1],
        train=train,
        criterion=CRITERIA[source.criterion],
        batches=source.scoring.batches(images, seed=source.seed, device=settings.hardware.device),
        seed=source.training_seed,
    )
    about = {"density": mask.density, "empty_layers": mask.empty_layers(), **history}
    return Result(mask.keep, about)


@dataclass(frozen=True)
class SourceWork:
    """The units of one source.

    Attributes:
        source: Settings of the source.
        start: What is known at initialisation; nothing of IRP depends on it.
        rounds: The rounds in order, of which each needs the one before.
    """

    source: SourceConfig
    start: Unit[Start]
    rounds: Sequence[Unit[Round]]

    @classmethod
    def of(cls, name: str, source: SourceConfig, images: Path, hardware: Hardware) -> "SourceWork":
        """Name the units of a source.

        Args:
            name: What the source is called.
            source: Its settings.
            images: Store of its image set.
            hardware: Where to train and score.
        """
        settings = {"source": source, "images": images, "hardware": hardware}
        inputs = {"images": store_digest(images), **source.digests()}
        beginning = Unit(f"irp/{name}/start", start, Start(**settings), inputs)
        rounds: list[Unit[Round]] = []
        for index in range(1, source.rounds + 1):
            before = rounds[-1] if rounds else None
            rounds.append(
                Unit(
                    f"irp/{name}/round_{index:02d}",
                    compute_round,
                    Round(**settings, index=index, previous=before.path if before else None),
                    {"before": before.key} if before else inputs,
                    (CRITERIA[source.criterion].function.__module__,),
                )
            )
        return cls(source, beginning, rounds)

    def chains(self) -> list[list[Unit]]:
        """Return the work as two chains of units, which may be computed side by side."""
        return [[self.start], [*self.rounds]]

    def survival(self) -> Survival:
        """Join the results of all units, which have to be done."""
        known = self.start.result().tensors
        results = [unit.result() for unit in self.rounds]
        names = [name.removeprefix(WEIGHT) for name in known if name.startswith(WEIGHT)]
        shapes = [list(known[WEIGHT + name].shape) for name in names]
        offsets = np.cumsum([0] + [int(np.prod(shape)) for shape in shapes])

        def joined(prefix: str) -> np.ndarray:
            return torch.cat([known[prefix + name].flatten() for name in names]).numpy()

        masks = [
            torch.cat([result.tensors[name].flatten() for name in names]) for result in results
        ]
        features = [known[FEATURES + name].flatten(1) for name in names]
        about = {
            "source": self.source.model_dump(mode="json"),
            "layers": [
                {"name": name, "offset": int(offset), "shape": shape}
                for name, offset, shape in zip(names, offsets, shapes, strict=False)
            ],
            "densities": self.source.densities,
            "rounds": [result.about for result in results],
        }
        return Survival(
            weight=joined(WEIGHT),
            gradient=joined(GRADIENT),
            features=torch.cat(features, dim=1).T.contiguous().numpy(),
            survival=torch.stack(masks).sum(dim=0).numpy().astype(np.uint16),
            about=about,
        )
