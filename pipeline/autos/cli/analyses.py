"""What `autos analyse` does: find masks, networks and stores by name, analyse, say what is seen."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from autos.analyses import (
    concordance,
    effective_paths,
    gradient_gram,
    layer_densities,
    mode_connectivity,
    overlap,
)
from autos.cli.data import open_data, open_images
from autos.cli.inspection import Facts
from autos.cli.noise import NAME, SMALL, image_form, noise
from autos.cli.prune import parse_shape
from autos.compute import Hardware
from autos.errors import UserError, explained
from autos.images.image_set import ImageSet
from autos.images.loaders import InOrder, ShuffledImages
from autos.irp.survival import Survival, read_survival
from autos.masks.mask import Mask
from autos.network.batches import cross_entropy
from autos.network.working_copy import working_copy
from autos.network.zoo import build
from autos.training.budget import Budget
from autos.training.recipe import TrainConfig

if TYPE_CHECKING:  # It takes a second to import, and only a plot needs it.
    from matplotlib.figure import Figure

GRADIENTS = 50
"""Number of gradients that are recorded in a training, if the user does not say how often."""


@dataclass(frozen=True)
class Analysis:
    """What an analysis found.

    Attributes:
        facts: Values that JSON can hold; "title" and "rows" make the table, and "summary" stands
            below it.
        plot: Function that draws the figure.
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

    def open(self) -> tuple[nn.Module, ImageSet, Mask]:
        """Return the network at its initialisation, in training mode, the images, and the mask.

        Raises:
            UserError: A name has no meaning, or the mask does not fit.
        """
        images = open_images(self.data)
        model = build(self.model, seed=self.seed, form=lambda: images.form, weights=self.weights)
        mask = load_mask(self.mask) if self.mask else Mask.dense(model)
        mask.check(model)
        return model.train(), images, mask

    def budget(self, images: ImageSet, *, seed: int) -> Budget:
        """Return how to train, with this seed of the order of the images."""
        hardware = Hardware()
        batches = ShuffledImages(
            images,
            batch_size=self.recipe.batch_size,
            augmentation=self.recipe.augmentation,
            seed=seed,
            device=hardware.device,
        )
        return Budget(self.recipe, batches, cross_entropy, seed, hardware)

    def about(self) -> Facts:
        """Return the options, as values that JSON can hold."""
        return {
            "model": self.model,
            "data": self.data,
            "recipe": self.recipe.model_dump(),
            "mask": str(self.mask) if self.mask else None,
            "weights": self.weights,
            "seed": self.seed,
        }


def analyse_mode_connectivity(training: Training, *, points: int) -> Analysis:
    """Train a network twice, and evaluate the networks between the two trained copies.

    The trainings take the two seeds that follow the seed of the initialisation.

    Args:
        training: Options of both trainings.
        points: Number of networks on the line, both ends included.

    Raises:
        UserError: An option has no meaning, or a training fails.
    """
    model, images, mask = training.open()
    seeds = [training.seed + 1, training.seed + 2]
    copies = [working_copy(model) for _ in seeds]
    device = Hardware().device
    with explained(f"{training.model} cannot be trained on {training.data}"):
        for copy, seed in zip(copies, seeds, strict=True):
            training.budget(images, seed=seed).train(copy, mask=mask)
            copy.to(device)
        path = mode_connectivity.path(
            *copies,
            training=InOrder(images, images.train, device),
            test=InOrder(images, images.test, device),
            points=points,
        )
    barriers = {
        "loss": mode_connectivity.barrier(path.loss, path.shares),
        "error": mode_connectivity.barrier(path.error, path.shares),
    }
    facts = {
        "analysis": "mode-connectivity",
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
    return Analysis(facts, lambda: _plots().mode_connectivity(path))


def analyse_gradients(training: Training, *, every: int | None) -> Analysis:
    """Train a network, and compare the gradients of some of its steps.

    Args:
        training: Options of the training.
        every: Number of steps from one gradient to the next; None makes about `GRADIENTS` in all.

    Raises:
        UserError: An option has no meaning, the training fails, or there is only one gradient.
    """
    model, images, mask = training.open()
    budget = training.budget(images, seed=training.seed)
    every = every or math.ceil(budget.steps / GRADIENTS)
    recorder = gradient_gram.GradientRecorder(every)
    with explained(f"{training.model} cannot be trained on {training.data}"):
        budget.train(working_copy(model), mask=mask, callbacks=[recorder])
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
    """Compare two masks of one network, layer by layer.

    Raises:
        UserError: A mask is missing or damaged, or the masks are of different networks.
    """
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
    """Compute the concordance of surviving scores for every pair of networks in the stores.

    Raises:
        UserError: A store is missing or damaged, or no two networks have the same layers.
    """
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
    """Compare the layer densities of masks with those of two allocations.

    Raises:
        UserError: A mask is missing or damaged, or the masks differ in network or density.
    """
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
    """Count the weights, units and paths that connect input and output under a mask.

    Args:
        file: Path of the mask.
        model: Name of the model.
        data: Name of the data, of which only the form of a sample counts.
        shape: Shape of a sample of noise, such as "3,224,224"; None finds it from the model.
        image_size: Side in pixels to which images of a folder are resized.

    Raises:
        UserError: An option has no meaning, or the paths of the network cannot be counted.
    """
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
    """Read a mask.

    Raises:
        UserError: There is no such mask, or it is damaged.
    """
    if not file.is_file():
        raise UserError(f"{file}: not found")
    return Mask.load(file)[0]


def load_masks(files: Sequence[Path]) -> dict[str, Mask]:
    """Read masks, and return them by names that tell them apart.

    Raises:
        UserError: A mask is missing or damaged, or is given twice.
    """
    return {label: load_mask(file) for label, file in _labels(files).items()}


def _labels(files: Sequence[Path]) -> dict[str, Path]:
    """Return files by their names without ending, and with folders only to tell them apart.

    Raises:
        UserError: A file is given twice.
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
    """Return the network and the shape of a sample.

    An architecture of the project is built for the form of the data.
    """
    sizes = parse_shape(shape)
    if data == NAME:
        if sizes is None and ":" not in name:
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
    from autos.analyses import plots  # It imports matplotlib, which takes a second.

    return plots
