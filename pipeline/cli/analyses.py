"""What `autos analyse` does: find masks, networks and stores by name, analyse, say what is seen."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from models import ARCHITECTURES
from pipeline.analyses import (
    concordance,
    connectivity,
    effective_paths,
    gradient_gram,
    layer_densities,
    overlap,
)
from pipeline.batches import cross_entropy
from pipeline.budget import Budget
from pipeline.cli.data_sources import open_data
from pipeline.cli.inspection import Facts
from pipeline.cli.model_sources import build
from pipeline.cli.noise import NAME, SMALL, image_form, noise
from pipeline.cli.prune_command import parse_shape
from pipeline.cli.training_sources import TrainingSource, open_training
from pipeline.cli.user_code import explained
from pipeline.compute import Hardware
from pipeline.errors import UserError
from pipeline.images import ImageSet, Split
from pipeline.masks import Mask
from pipeline.recipes import TrainConfig
from pipeline.survival import Survival, read_survival
from pipeline.training import EVALUATION_BATCH, ShuffledImages
from pipeline.working_copy import working_copy

if TYPE_CHECKING:  # it takes a second, and only a plot needs it
    from matplotlib.figure import Figure

GRADIENTS = 50
"""Recorded in a training, if the user does not say after how many steps."""


@dataclass(frozen=True)
class Analysis:
    """What an analysis found.

    Attributes:
        facts: values that JSON can hold; "title" and "rows" make the table, and "summary" stands
            below it.
        plot: makes the figure.
    """

    facts: Facts
    plot: Callable[[], "Figure"]


@dataclass(frozen=True)
class Training:
    """The options of the analyses that train, as their `--help` describes them."""

    model: str
    data: str
    recipe: TrainConfig
    mask: Path | None
    weights: str | None
    seed: int

    def open(self) -> tuple[TrainingSource, Mask]:
        """Raises UserError: a name has no meaning, or the mask does not fit."""
        source = open_training(self.model, self.data, weights=self.weights, seed=self.seed)
        mask = load_mask(self.mask) if self.mask else Mask.dense(source.model)
        mask.check(source.model)
        return source, mask

    def budget(self, images: ImageSet, *, seed: int) -> Budget:
        hardware = Hardware()
        batches = ShuffledImages(images, self.recipe, seed=seed, device=hardware.device)
        return Budget(self.recipe, batches, cross_entropy, seed, hardware)

    def about(self) -> Facts:
        return {
            "model": self.model,
            "data": self.data,
            "recipe": self.recipe.model_dump(),
            "mask": str(self.mask) if self.mask else None,
            "weights": self.weights,
            "seed": self.seed,
        }


class InOrder:
    """A split in batches, in its own order and without augmentation."""

    def __init__(self, images: ImageSet, split: Split, device: torch.device) -> None:
        self.images, self.split, self.device = images, split, device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for pixels, labels in zip(
            self.split.images.split(EVALUATION_BATCH),
            self.split.labels.split(EVALUATION_BATCH),
            strict=True,
        ):
            yield self.images.normalize(pixels.to(self.device)), labels.to(self.device)


def analyse_connectivity(training: Training, *, points: int) -> Analysis:
    """Train twice, by the seeds that follow the one of the initialisation.

    Raises:
        UserError: an option has no meaning, or the training fails.
    """
    source, mask = training.open()
    seeds = [training.seed + 1, training.seed + 2]
    copies = [working_copy(source.model) for _ in seeds]
    device = Hardware().device
    with explained(f"{training.model} cannot be trained on {training.data}"):
        for copy, seed in zip(copies, seeds, strict=True):
            training.budget(source.images, seed=seed).train(copy, mask=mask)
            copy.to(device)
        path = connectivity.path(
            *copies,
            training=InOrder(source.images, source.images.train, device),
            test=InOrder(source.images, source.images.test, device),
            points=points,
        )
    barriers = {
        "loss": connectivity.barrier(path.loss, path.shares),
        "error": connectivity.barrier(path.error, path.shares),
    }
    facts = {
        "analysis": "connectivity",
        "title": "between two trainings of one initialisation, on the test images",
        "rows": [
            {"share_of_first": share, "loss": loss, "error": error}
            for share, loss, error in zip(path.shares, path.loss, path.error, strict=True)
        ],
        "summary": {
            f"{name}_barrier_{definition}": getattr(height, definition)
            for name, height in barriers.items()
            for definition in ("from_line", "above_mean")
        }
        | {"density": mask.density, "training_seeds": seeds},
        "about": training.about(),
    }
    return Analysis(facts, lambda: _plots().connectivity(path))


def analyse_gradients(training: Training, *, every: int | None) -> Analysis:
    """Raises UserError: an option has no meaning, or the training fails."""
    source, mask = training.open()
    budget = training.budget(source.images, seed=training.seed)
    every = every or math.ceil(budget.steps / GRADIENTS)
    recorder = gradient_gram.GradientRecorder(every)
    with explained(f"{training.model} cannot be trained on {training.data}"):
        budget.train(working_copy(source.model), mask=mask, callbacks=[recorder])
    cosines = gradient_gram.gram(recorder.gradients)
    steps, count = recorder.steps, len(recorder.steps)
    if count < 2:
        raise UserError(
            f"one gradient in {budget.steps} steps has no other to compare with: lower --every"
        )
    mean = (cosines.sum(dim=1) - cosines.diagonal()) / (count - 1)
    facts = {
        "analysis": "gradients",
        "title": "cosines of each gradient with others of the same training",
        "rows": [
            {
                "step": step,
                "with_first": float(cosines[0, i]),
                "with_next": float(cosines[i, i + 1]) if i + 1 < count else None,
                "mean_with_others": float(mean[i]),
            }
            for i, step in enumerate(steps)
        ],
        "summary": {"mean_cosine": float(mean.mean()), "every": every, "density": mask.density},
        "cosines": cosines.tolist(),
        "about": training.about(),
    }
    return Analysis(facts, lambda: _plots().gradient_gram(cosines.numpy(), steps))


def analyse_overlap(first: Path, second: Path) -> Analysis:
    """Raises UserError: a mask is missing or damaged, or they are of different networks."""
    masks = load_masks([first, second])
    layers = overlap.overlap(*masks.values())
    total = overlap.joined(layers)
    facts = {
        "analysis": "overlap",
        "title": f"{first} and {second}: positions that both keep or both prune",
        "rows": [
            {"layer": name, **_overlap(layer)}
            for name, layer in (*layers.items(), ("total", total))
        ],
        "summary": {"chance_with_these_layer_densities": overlap.layerwise_chance(layers)},
        "about": {"first": str(first), "second": str(second)},
    }
    return Analysis(facts, lambda: _plots().overlap(layers, title=" and ".join(masks)))


def _overlap(layer: overlap.Overlap) -> Facts:
    names = ("total", "first", "second", "both", "agreement", "chance", "jaccard", "jaccard_chance")
    return {name: getattr(layer, name) for name in names}


def analyse_concordance(stores: Sequence[Path]) -> Analysis:
    """Raises UserError: a store is missing or damaged, or there is nothing to compare."""
    networks: dict[str, Survival] = {}
    for label, store in _labels(stores).items():
        for name, network in read_survival(store).items():
            networks[name if len(stores) == 1 else f"{label}:{name}"] = network
    pairs = concordance.pairs(networks)
    facts = {
        "analysis": "concordance",
        "title": "concordance correlation of surviving scores",
        "rows": [
            {
                "first": pair.first,
                "second": pair.second,
                "criteria": " / ".join(
                    networks[name].about["source"]["criterion"]
                    for name in (pair.first, pair.second)
                ),
                "initialisation": "same" if pair.same_start else "different",
                "concordance": pair.concordance,
            }
            for pair in pairs
        ],
        "summary": {},
        "about": {"stores": [str(store) for store in stores]},
    }
    return Analysis(facts, lambda: _plots().concordance(pairs))


def analyse_layer_densities(files: Sequence[Path]) -> Analysis:
    """Raises UserError: a mask is missing or damaged, or they do not compare."""
    masks = load_masks(files)
    densities = layer_densities.layer_densities(masks)
    mask = next(iter(masks.values()))
    facts = {
        "analysis": "layer-densities",
        "title": "fraction of the weights of each layer that is kept",
        "rows": [
            {
                "layer": layer,
                "weights": keep.numel(),
                **{name: values[layer] for name, values in densities.items()},
            }
            for layer, keep in mask.keep.items()
        ],
        "summary": {"density": mask.density, "kept": mask.kept, "weights": mask.total},
        "about": {"masks": [str(file) for file in files]},
    }
    return Analysis(facts, lambda: _plots().layer_densities(densities))


def analyse_effective_paths(
    file: Path, *, model: str, data: str, shape: str | None, image_size: int
) -> Analysis:
    """Raises UserError: an option has no meaning, or the network's paths cannot be counted."""
    mask = load_mask(file)
    network, sample = _network_and_shape(model, data, shape, image_size)
    with explained(f"paths through {model} cannot be counted"):
        found = effective_paths.effective(network, mask, sample)
        dense = effective_paths.effective(network, Mask.dense(network), sample)
    units = effective_paths.by_unit(network, mask)
    on_path = found.mask.layer_densities()
    rows: list[Facts] = [
        {
            "layer": layer,
            "density": density,
            "effective_density": on_path[layer],
            "units": len(units[layer]),
            "effective_units": found.units[layer],
        }
        for layer, density in mask.layer_densities().items()
    ]
    facts = {
        "analysis": "effective-paths",
        "title": f"{file}: weights and units on a path of kept weights from input to output",
        "rows": rows,
        "summary": {
            "density": mask.density,
            "effective_density": found.mask.density,
            "units": sum(row["units"] for row in rows),
            "effective_units": sum(found.units.values()),
            "log10_paths": _finite(found.log10_paths),
            "log10_paths_of_dense": _finite(dense.log10_paths),
        },
        "about": {"mask": str(file), "model": model, "data": data, "shape": list(sample)},
    }
    return Analysis(facts, lambda: _plots().effective_paths(rows, title=str(file)))


def load_mask(file: Path) -> Mask:
    """Raises UserError: there is no such mask, or it is damaged."""
    if not file.is_file():
        raise UserError(f"{file}: not found")
    return Mask.load(file)[0]


def load_masks(files: Sequence[Path]) -> dict[str, Mask]:
    """By what to call them. Raises UserError: one is missing or damaged."""
    return {label: load_mask(file) for label, file in _labels(files).items()}


def _labels(files: Sequence[Path]) -> dict[str, Path]:
    """Names of files without ending, and with no more folders than tell them apart.

    Raises:
        UserError: a file is given twice.
    """
    if len(set(files)) < len(files):
        raise UserError(f"{next(f for f in files if files.count(f) > 1)}: is given twice")
    short = {file.stem: file for file in files}
    if len(short) == len(files):
        return short
    common = os.path.commonpath([file.absolute().parent for file in files])
    return {str(file.absolute().relative_to(common).with_suffix("")): file for file in files}


def _network_and_shape(
    name: str, data: str, shape: str | None, image_size: int
) -> tuple[nn.Module, tuple[int, ...]]:
    """The network, built for the data if it is of `models`, and the shape of a sample."""
    sizes = parse_shape(shape)
    if data == NAME:
        if sizes is None and name in ARCHITECTURES:
            sizes = SMALL
        network = build(name, seed=0, form=lambda: image_form(sizes or SMALL))
        found = noise(network, shape=sizes, samples=1, seed=0, labelled=False)
    else:
        if sizes:
            raise UserError(f"--shape is of --data {NAME} only")
        found = open_data(data, per_class=1, batch_size=1, image_size=image_size, seed=0)
        network = build(name, seed=0, form=found.form)
    with explained(f"{data}: the shape of a sample is not seen"):
        inputs, _ = next(iter(found.batches))
        return network, tuple(inputs.shape[1:])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plots() -> Any:
    from pipeline.analyses import plots  # matplotlib takes a second to import

    return plots
