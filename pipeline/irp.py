"""Iterative rewind pruning (AutoS paper, Algorithm 2): train, prune, count survivors, rewind.

Where the released code of the paper differs from the paper this follows the paper: it trains before
it prunes, prunes survivors only, reaches the final density, rewinds everything, and takes the mean
gradient.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from models import ARCHITECTURES
from pipeline.autos import features
from pipeline.compute import Hardware
from pipeline.config import Config, one_of
from pipeline.criteria import CRITERIA
from pipeline.criterion import Criterion
from pipeline.gradients import mean_gradient
from pipeline.images import ImageSet, ScoringConfig
from pipeline.masks import Mask
from pipeline.method import Batches, Context
from pipeline.networks import NetworkConfig
from pipeline.prunable import prunable
from pipeline.recipes import TrainConfig
from pipeline.schedules import SCHEDULES
from pipeline.selection import keep_top
from pipeline.stores import store_digest
from pipeline.units import Result, Unit, read_result

IRP_CRITERIA = ("snip", "magnitude", "grasp", "random")


def next_round(
    initial: nn.Module,
    mask: Mask,
    *,
    train: Callable[[nn.Module, Mask], Any],
    criterion: Criterion,
    batches: Batches,
    density: float,
    seed: int = 0,
) -> tuple[Mask, Any]:
    """One round of IRP. `initial` is left untouched.

    Args:
        initial: the network at its initialisation.
        mask: what the rounds so far have left.
        train: trains the network it is given, in place, under the mask.
        density: of the whole network, to prune down to.
        seed: of a random criterion.

    Returns:
        The mask after this round, a subset of `mask`, and what `train` returned.
    """
    model = copy.deepcopy(initial)  # rewinds weights, biases and all of BatchNorm
    mask.apply_(model)
    history = train(model, mask)
    generator = torch.Generator().manual_seed(seed)
    settings = criterion.settings()
    context = Context(batches, density, generator, settings=settings, seed=seed)
    scores = criterion.score(model, context)
    return keep_top(scores, density, within=mask), history


class SourceConfig(NetworkConfig):
    """One network on which IRP is run."""

    criterion: Annotated[str, one_of("IRP criterion", IRP_CRITERIA)] = "snip"
    """Applied to the trained weights of every round."""
    rounds: int = Field(default=20, gt=0)
    final_density: float = Field(default=0.01, gt=0, lt=1)
    schedule: Annotated[str, one_of("schedule", SCHEDULES)] = "linear"
    scoring: ScoringConfig
    """Images for the criterion and for the initial gradient."""
    train: TrainConfig
    seed: int = 0
    """Of the initialisation, the scoring images, and with `repetition` of all else."""
    repetition: int = 0
    """Another one begins with the same weights and trains with another order of the images."""

    @property
    def training_seed(self) -> int:
        return self.seed + 1000 * self.repetition

    @property
    def densities(self) -> list[float]:
        """Density after each round."""
        return SCHEDULES[self.schedule](self.final_density, self.rounds)


class InitialState(Config):
    """Settings of a unit: what is known at initialisation."""

    source: SourceConfig
    images: Path
    hardware: Hardware


def initial_state(settings: InitialState) -> Result:
    """Tensors "weight/<name>", "gradient/<name>" and "features/<name>" [4, *shape] of every
    prunable weight."""
    source, images = settings.source, ImageSet.load(settings.images)
    device = settings.hardware.device
    model = source.build(images, seed=source.seed).to(device)
    model.train(source.scoring.batch_norm == "train")
    batches = source.scoring.batches(images, seed=source.seed, device=device)
    gradients = mean_gradient(model, batches)
    tensors = {f"weight/{name}": weight.detach() for name, weight in prunable(model).items()}
    tensors |= {f"gradient/{name}": gradient for name, gradient in gradients.items()}
    tensors |= {f"features/{name}": values for name, values in features(model, batches)}
    return Result(tensors, {})


class Round(InitialState):
    """Settings of a unit: one round of IRP."""

    index: int
    """From 1 to the number of rounds."""
    previous: Path | None
    """Result of the round before."""


def compute_round(settings: Round) -> Result:
    """The mask after the round; described by its density and the training before the cut."""
    from pipeline.training import fit  # Lightning takes seconds to import

    source, images = settings.source, ImageSet.load(settings.images)
    initial = source.build(images, seed=source.seed)

    def train(model: nn.Module, mask: Mask) -> dict[str, list[float]]:
        # Every round has the same seed: the order of the images is rewound, too.
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
    mask, history = next_round(
        initial,
        Mask(read_result(previous).tensors) if previous else Mask.dense(initial),
        train=train,
        criterion=CRITERIA[source.criterion],
        batches=source.scoring.batches(images, seed=source.seed, device=settings.hardware.device),
        density=source.densities[settings.index - 1],
        seed=source.training_seed,
    )
    about = {"density": mask.density, "empty_layers": mask.empty_layers(), **history}
    return Result(mask.keep, about)


def units(name: str, source: SourceConfig, images: Path, hardware: Hardware) -> list[Unit]:
    """The work of one source in order: its initial state, then its rounds."""
    uses = (ARCHITECTURES[source.architecture], CRITERIA[source.criterion].function)
    start = InitialState(source=source, images=images, hardware=hardware)
    inputs = {"images": store_digest(images), **source.digests()}
    chain: list[Unit] = [Unit(f"irp/{name}/initial", initial_state, start, inputs, uses)]
    for index in range(1, source.rounds + 1):
        before = chain[-1]
        settings = Round(
            source=source,
            images=images,
            index=index,
            previous=before.path if index > 1 else None,
            hardware=hardware,
        )
        inputs = {"before": before.key}
        chain.append(Unit(f"irp/{name}/round_{index:02d}", compute_round, settings, inputs, uses))
    return chain
