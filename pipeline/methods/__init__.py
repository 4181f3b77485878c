"""All methods by name: the criteria, and those that train, which have one file each here.

To add one, write `pipeline/methods/x.py` with its `METHOD`, import it here and add its line.
"""

from pipeline.criteria import CRITERIA
from pipeline.method import Method
from pipeline.methods import (
    deep_r,
    dns,
    dsr,
    edge_popup,
    gem_miner,
    jackpot,
    rigl,
    set_,
    snfs,
    supermask,
)

METHODS: dict[str, Method] = {
    **CRITERIA,
    "dns": dns.METHOD,
    "deep_r": deep_r.METHOD,
    "set": set_.METHOD,
    "dsr": dsr.METHOD,
    "snfs": snfs.METHOD,
    "rigl": rigl.METHOD,
    "supermask": supermask.METHOD,
    "edge_popup": edge_popup.METHOD,
    "gem_miner": gem_miner.METHOD,
    "jackpot": jackpot.METHOD,
}
