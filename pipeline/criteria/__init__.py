"""Pruning criteria, one file each, and the table that names them.

To add one, write `pipeline/criteria/x.py` with its `CRITERION`, import it here and add its line.
"""

from pipeline.criteria import (
    erk,
    grasp,
    magnitude,
    npb,
    obd,
    phew,
    prospr,
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
from pipeline.criterion import Criterion

CRITERIA: dict[str, Criterion] = {
    "random": random.CRITERION,
    "magnitude": magnitude.CRITERION,
    "snip": snip.CRITERION,
    "snip_it": snip_it.CRITERION,
    "grasp": grasp.CRITERION,
    "synflow": synflow.CRITERION,
    "npb": npb.CRITERION,
    "prospr": prospr.CRITERION,
    "phew": phew.CRITERION,
    "taylor_fo": taylor_fo.CRITERION,
    "obd": obd.CRITERION,
    "skeletonization": skeletonization.CRITERION,
    "uniform": uniform.CRITERION,
    "uniform_plus": uniform_plus.CRITERION,
    "erk": erk.CRITERION,
    "smart_ratio": smart_ratio.CRITERION,
}
