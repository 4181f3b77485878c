"""One cell of the grid of masks: target x criterion x density x seed."""

import warnings
from pathlib import Path

from pipeline.compute import Hardware
from pipeline.config import Config, Density
from pipeline.criteria import CRITERIA
from pipeline.criterion import Criterion
from pipeline.images import ImageSet, ScoringConfig
from pipeline.networks import NetworkConfig
from pipeline.pruning import EmptyLayerWarning, prune
from pipeline.units import Result


class MaskCell(Config):
    """Settings of a unit: one mask."""

    network: NetworkConfig
    images: Path
    criterion: str
    density: Density
    seed: int
    """Of the initialisation, of the choice of scoring images, and of random criteria."""
    scoring: ScoringConfig
    hardware: Hardware


def hand_made_mask(cell: MaskCell) -> Result:
    """The mask of a criterion in the registry."""
    return find_mask(cell, CRITERIA[cell.criterion])


def find_mask(cell: MaskCell, criterion: Criterion) -> Result:
    """The mask, described by what it keeps in each layer."""
    images = ImageSet.load(cell.images)
    device = cell.hardware.device
    model = cell.network.build(images, seed=cell.seed).to(device)
    model.train(cell.scoring.batch_norm == "train")
    batches = cell.scoring.batches(images, seed=cell.seed, device=device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EmptyLayerWarning)  # the stage tells, for all cells
        mask = prune(model, criterion, batches, density=cell.density, seed=cell.seed)
    about = {
        "kept": mask.kept,
        "total": mask.total,
        "layer_densities": mask.layer_densities(),
        "empty_layers": mask.empty_layers(),
    }
    return Result(mask.keep, about)
