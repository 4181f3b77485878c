"""Pruning criteria, one file each, and the registry that names them.

To add a criterion, write `criteria/x.py` with its `CRITERION`, import it here and add it to the
registry.
"""

from typing import Any

from autos.methods.base import Criterion
from autos.methods.criteria import (
    erk,
    force,
    grasp,
    igq,
    iterative_snip,
    lamp,
    magnitude,
    npb,
    ntk_sap,
    obd,
    phew,
    prospr,
    px,
    random,
    skeletonization,
    smart_ratio,
    snip,
    snip_it,
    synflow,
    taylor_fo,
    uniform,
    uniform_plus,
)

CRITERIA: dict[str, Criterion[Any]] = {
    criterion.name: criterion
    for criterion in (
        random.CRITERION,
        magnitude.CRITERION,
        lamp.CRITERION,
        snip.CRITERION,
        snip_it.CRITERION,
        iterative_snip.CRITERION,
        force.CRITERION,
        grasp.CRITERION,
        synflow.CRITERION,
        npb.CRITERION,
        ntk_sap.CRITERION,
        prospr.CRITERION,
        px.CRITERION,
        phew.CRITERION,
        taylor_fo.CRITERION,
        obd.CRITERION,
        skeletonization.CRITERION,
        uniform.CRITERION,
        uniform_plus.CRITERION,
        erk.CRITERION,
        igq.CRITERION,
        smart_ratio.CRITERION,
    )
}
"""All criteria by name."""
