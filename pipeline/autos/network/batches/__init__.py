"""How a batch of any form meets a model: move it, run it, count it, take its loss."""

from autos.network.batches.forms import LABELS, Batch, Batches, map_tensors, size
from autos.network.batches.generators import seeded
from autos.network.batches.losses import Loss, as_loss, cross_entropy, labels_of, logits, total
from autos.network.batches.preparing import Prepared, prepared, read
from autos.network.batches.running import run
from autos.network.batches.sample import ones

__all__ = [
    "LABELS",
    "Batch",
    "Batches",
    "Loss",
    "Prepared",
    "as_loss",
    "cross_entropy",
    "labels_of",
    "logits",
    "map_tensors",
    "ones",
    "prepared",
    "read",
    "run",
    "seeded",
    "size",
    "total",
]
