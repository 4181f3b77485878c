"""SNIP (Lee et al., ICLR 2019, eq. 5): |w * dL/dw|, the effect of a weight's mask on the loss.

The paper divides by the sum over all weights, which does not change the order.
"""

from torch import Tensor, nn

from pipeline.criterion import Criterion
from pipeline.gradients import mean_gradient
from pipeline.method import Context
from pipeline.prunable import prunable
from pipeline.selection import Scores


def score(model: nn.Module, context: Context) -> Scores:
    return saliency(model, mean_gradient(model, context.batches, context.loss))


def saliency(model: nn.Module, gradient: dict[str, Tensor]) -> Scores:
    """|w * dL/dw|, in the place of the gradient."""
    return {name: gradient[name].mul_(w.detach()).abs_() for name, w in prunable(model).items()}


CRITERION = Criterion(score, paper="Lee et al., ICLR", year=2019, cost="1 gradient")
