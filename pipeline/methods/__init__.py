"""All methods by name: the criteria, and those that train, which have one file each here.

To add one, write `pipeline/methods/x.py` with its `METHOD`, import it here and add its line.
"""

from pipeline.criteria import CRITERIA
from pipeline.method import Method
from pipeline.methods import (
    deep_r,
    dns,
    dsr,
    early_bird,
    edge_popup,
    gem_miner,
    gmp,
    gmp_bar,
    imp,
    imp_rewinding,
    jackpot,
    lr_rewinding,
    one_shot,
    platon,
    rigl,
    set_,
    short_cycle_imp,
    snfs,
    supermask,
)

METHODS: dict[str, Method] = {
    **CRITERIA,
    "imp": imp.METHOD,
    "imp_rewinding": imp_rewinding.METHOD,
    "lr_rewinding": lr_rewinding.METHOD,
    "one_shot": one_shot.METHOD,
    "short_cycle_imp": short_cycle_imp.METHOD,
    "early_bird": early_bird.METHOD,
    "gmp": gmp.METHOD,
    "gmp_bar": gmp_bar.METHOD,
    "platon": platon.METHOD,
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
