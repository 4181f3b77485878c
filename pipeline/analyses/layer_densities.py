"""Density of every layer of masks, beside two allocations that know only the layers' shapes.

Uniform gives every layer the density of the network; ERK gives more to small layers
(`pipeline.allocation`). Both keep as many weights as the masks.
"""

import math
from collections.abc import Mapping

from pipeline.allocation import erk, uniform
from pipeline.analyses.overlap import check_alike
from pipeline.errors import UserError
from pipeline.masks import Mask

UNIFORM, ERK = "uniform", "ERK"


def layer_densities(masks: Mapping[str, Mask]) -> dict[str, dict[str, float]]:
    """Layer densities by name of the mask, and of both allocations; each by name of the layer.

    Raises:
        UserError: the masks are of different networks, or keep different numbers of weights.
    """
    check_alike(masks)
    name, mask = next(iter(masks.items()))
    kept = mask.kept
    for other_name, other in masks.items():
        if other.kept != kept:
            raise UserError(
                f"masks of different densities: {name} keeps {kept} weights and {other_name} "
                f"{other.kept}"
            )
    densities = {name: mask.layer_densities() for name, mask in masks.items()}
    for name, allocate in ((ERK, erk), (UNIFORM, uniform)):
        counts = allocate(mask.shapes, kept)
        densities[name] = {
            layer: counts[layer] / math.prod(shape) for layer, shape in mask.shapes.items()
        }
    return densities
