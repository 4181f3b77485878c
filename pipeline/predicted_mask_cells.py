"""A cell of the grid of masks that a trained predictor fills.

Apart from the other cells, so that theirs do not depend on the predictors' code.
"""

from pathlib import Path

from pipeline.criterion import predicted
from pipeline.mask_cells import MaskCell, find_mask
from pipeline.predictors import PREDICTORS
from pipeline.units import Result


class PredictedMaskCell(MaskCell):
    """Settings of a unit: one mask by a trained predictor."""

    predictor: Path


def predicted_mask(cell: PredictedMaskCell) -> Result:
    return find_mask(cell, predicted(PREDICTORS[cell.criterion].load(cell.predictor)))
