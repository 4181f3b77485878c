"""GraSP (Wang et al., ICLR 2020, eq. 8): S = -w * Hg; weights with the largest S are pruned.

To first order, removing a weight changes the gradient norm g'g by 2S, so a large S marks a weight
whose removal raises the gradient flow. The AutoS paper's text prunes the other end, which is
`end: low`; the default is GraSP's own code. As in that code, the logits are divided by a
temperature; a loss that the model itself returns is taken as it is, and so are outputs that are
neither a tensor nor have "logits". The official code also re-draws linear layers while scoring,
which is left out: the scores belong to the given weights.
"""

import copy
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.batches import Batch
from autos.network.gradients import mean_gradient
from autos.network.hessian import hessian_product, twice_differentiable
from autos.network.prunable import prunable


class Settings(Config):
    """Settings of GraSP."""

    end: Literal["high", "low"] = "high"
    """End of the order of S that is pruned."""
    temperature: float = Field(default=200, gt=0)
    """Temperature that logits are divided by."""


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score every weight by -S, or by S if the low end is pruned."""
    settings = context.settings

    def loss(output: Any, batch: Batch) -> Tensor:
        return context.loss(tempered(output, settings.temperature), batch)

    with twice_differentiable():
        g = mean_gradient(model, context.batches, loss)
        hg = hessian_product(model, context.batches, loss, g)
    # Weights with high scores are kept, so that the high end of S gets the low scores.
    sign = 1 if settings.end == "high" else -1
    return {name: hg[name].mul_(w.detach()).mul_(sign) for name, w in prunable(model).items()}


def tempered(output: Any, temperature: float) -> Any:
    """Return what the model returned, with its logits, if there are any, divided."""
    if isinstance(output, Tensor):
        return output / temperature
    if isinstance(output, Mapping) and "logits" in output:
        divided: Any = copy.copy(output)
        divided["logits"] = output["logits"] / temperature
        return divided
    return output


CRITERION = Criterion(
    "grasp",
    score,
    settings=Settings,
    batch_norm="train",
    paper="Wang et al., ICLR",
    year=2020,
    cost="2 gradients, 1 Hessian product",
)
