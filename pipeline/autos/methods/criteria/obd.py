"""OBD, optimal brain damage (LeCun et al., NeurIPS 1989): h * w^2 / 2, h the Hessian's diagonal.

The loss grows by this when the weight of a trained network is removed, as far as the Hessian is
diagonal. At initialisation the gradient is not 0, but its term -w * dL/dw is left out, as in the
comparisons of pruning at initialisation: that term alone is skeletonization. The score keeps its
sign, so a weight with negative curvature is pruned first.

Instead of the authors' approximation the diagonal is estimated without bias (Hutchinson, 1990): the
mean of v * Hv over vectors v of random signs. The error falls with their number.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.hessian import hessian_product, twice_differentiable
from autos.network.prunable import prunable


class Settings(Config):
    """Settings of optimal brain damage."""

    samples: int = Field(default=10, gt=0)
    """Number of random vectors."""


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score every weight by h * w^2 / 2, with an estimate of h."""
    weights = prunable(model)
    diagonal = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    for _ in range(context.settings.samples):
        signs = {name: _signs(weight, context.generator) for name, weight in weights.items()}
        with twice_differentiable():
            product = hessian_product(model, context.batches, context.loss, signs)
        for name, total in diagonal.items():
            total += signs[name] * product[name] / context.settings.samples
    return {name: diagonal[name] * w.detach().square() / 2 for name, w in weights.items()}


def _signs(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Draw 1 or -1 with equal probability, in the shape of the weight."""
    signs = torch.randint(2, weight.shape, generator=generator) * 2 - 1
    return signs.to(weight)


CRITERION = Criterion(
    "obd",
    score,
    settings=Settings,
    paper="LeCun et al., NeurIPS",
    year=1989,
    cost="10 Hessian products",
)
