"""SynFlow (Tanaka et al., NeurIPS 2020, eq. 4): w * dR/dw with R = 1' |W_L| ... |W_1| 1.

Needs no data, only the shape of an input. Meant for many rounds with exponentially falling density
and float64: in float32 R overflows in deep networks. Buffers stay as they are, unlike in the
authors' code: one may be a mask of minus infinities. Behind normalisation by a sample's own
statistics (LayerNorm, RMSNorm) R does not grow with the weights in front of it, and their scores
are small or negative: expect empty layers in transformers.
"""

from pydantic import Field
from torch import nn

from pipeline.config import Config
from pipeline.criterion import Criterion
from pipeline.flow import flow_
from pipeline.method import Context
from pipeline.schedules import exponential
from pipeline.selection import Scores


class Settings(Config):
    """Of SynFlow."""

    rounds: int = Field(default=100, gt=0)
    """One round empties layers at high sparsity."""


def score(model: nn.Module, context: Context) -> Scores:
    return flow_(model, next(iter(context.batches)))


CRITERION = Criterion(
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
