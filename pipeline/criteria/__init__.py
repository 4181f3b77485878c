"""Pruning criteria, one file each, and the table that names them.

To add one, write `pipeline/criteria/x.py` with its `CRITERION`, import it here and add its line.
"""

from pipeline.criteria import grasp, magnitude, npb, random, snip, synflow
from pipeline.criterion import Criterion

CRITERIA: dict[str, Criterion] = {
    "random": random.CRITERION,
    "magnitude": magnitude.CRITERION,
    "snip": snip.CRITERION,
    "grasp": grasp.CRITERION,
    "synflow": synflow.CRITERION,
    "npb": npb.CRITERION,
}
