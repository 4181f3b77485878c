"""Density of every layer of masks, beside two allocations that know only the layers' shapes.

Uniform gives every layer the density of the network; ERK gives more to small layers
(`autos.masks.allocation`). Both keep as many weights as the masks.
"""

import math
from collections.abc import Mapping

from autos.analyses.overlap import check_alike
from autos.errors import UserError
from autos.masks.allocation import erk, uniform
from autos.masks.mask import Mask

UNIFORM, ERK = "uniform", "ERK"
"""Names of the two allocations."""


def layer_densities(masks: Mapping[str, Mask]) -> dict[str, dict[str, float]]:
    """Compute the layer densities of masks, and of both allocations of as many weights.

    Args:
        masks: Masks by name.

    Returns:
        Density by the name of the layer, for every mask by its name, for `ERK` and for `UNIFORM`.

    Raises:
        UserError: The masks are of different networks, or keep different numbers of weights.
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
