"""All methods by name: the criteria, and the methods that train, which have one file each here.

To add a method that trains, write `methods/x.py` with its `METHOD`, import it here and add it to
the registry. What several methods share is in `cycles`, `schedules`, `layerwise`, and in the
modules whose names begin with an underscore.
"""

from typing import Any

from autos.methods import (
    ac_dc,
    deep_r,
    dns,
    dsr,
    early_bird,
    edge_popup,
    gem_miner,
    gmp,
    gmp_bar,
    granet,
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
from autos.methods.base import Method
from autos.methods.criteria import CRITERIA

METHODS: dict[str, Method[Any]] = {
    **CRITERIA,
    **{
        method.name: method
        for method in (
            imp.METHOD,
            imp_rewinding.METHOD,
            lr_rewinding.METHOD,
            one_shot.METHOD,
            short_cycle_imp.METHOD,
            early_bird.METHOD,
            gmp.METHOD,
            gmp_bar.METHOD,
            platon.METHOD,
            dns.METHOD,
            deep_r.METHOD,
            set_.METHOD,
            dsr.METHOD,
            snfs.METHOD,
            rigl.METHOD,
            ac_dc.METHOD,
            granet.METHOD,
            supermask.METHOD,
            edge_popup.METHOD,
            gem_miner.METHOD,
            jackpot.METHOD,
        )
    },
}
"""All methods by name."""
