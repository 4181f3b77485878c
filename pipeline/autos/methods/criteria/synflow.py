"""SynFlow (Tanaka et al., NeurIPS 2020, eq. 4): w * dR/dw with R = 1' |W_L| ... |W_1| 1.

It needs no data, only the shape of an input. It is meant for many rounds with exponentially falling
density, and for float64: in float32 R overflows in deep networks. Buffers stay as they are, unlike
in the authors' code: one may be a mask of minus infinities. Behind normalisation by a sample's own
statistics (LayerNorm, RMSNorm) R does not grow with the weights in front of it, and their scores
are small or negative, so that transformers can end up with empty layers.
"""

from torch import nn

from autos.config import Config, Rounds
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.schedules import exponential
from autos.network.flow import flow_


class Settings(Config):
    """Settings of SynFlow."""

    rounds: Rounds = 100
    """Number of rounds; a single round empties layers at high sparsity."""


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score every weight by w * dR/dw."""
    return flow_(model, next(iter(context.batches)))


CRITERION = Criterion(
    "synflow",
    score,
    densities=lambda density, settings: exponential(density, settings.rounds),
    settings=Settings,
    double=True,
    batch_norm="eval",
    data="none",
    paper="Tanaka et al., NeurIPS",
    year=2020,
    cost="100 passes of 1 sample",
)
