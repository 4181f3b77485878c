"""SNIP (Lee et al., ICLR 2019, eq. 5): |w * dL/dw|, the effect of a weight's mask on the loss.

The paper divides by the sum over all weights, which does not change the order.
"""

from torch import Tensor, nn

from autos.config import Config
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable


def score(model: nn.Module, context: Context[Config]) -> Scores:
    """Score every weight by |w * dL/dw|."""
    return saliency(model, mean_gradient(model, context.batches, context.loss))


def saliency(model: nn.Module, gradient: dict[str, Tensor]) -> Scores:
    """Compute |w * dL/dw| from the gradient dL/dw by name, which it overwrites."""
    return {name: gradient[name].mul_(w.detach()).abs_() for name, w in prunable(model).items()}


CRITERION = Criterion("snip", score, paper="Lee et al., ICLR", year=2019, cost="1 gradient")
