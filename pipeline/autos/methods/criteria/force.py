"""FORCE (de Jorge et al., ICLR 2021, eq. 6): |w * dL/dw|, the gradient taken in the pruned network.

Rounds of exponentially falling density, as in iterative SNIP, but each chooses from all weights by
their initial values, so that a weight which was pruned can come back.

The authors keep every weight whose score is no lower than the threshold, so that a round in which
many scores are 0 prunes nothing; here every round keeps its exact number.
"""

import torch
from torch import Tensor, nn

from autos.masks.mask import Mask
from autos.masks.selection import Scores, keep_top, kept_by
from autos.methods.base import Context, Criterion
from autos.methods.criteria.iterative_snip import Settings
from autos.methods.schedules import exponential
from autos.network.gradients import loss_gradient, mean_gradient
from autos.network.prunable import prunable


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score every weight by |w * dL/dw|, the gradient that of the round before the last.

    Raises:
        UserError: The density keeps no weight, the loss or a gradient is NaN or infinite, or all
            gradients are 0 although the network is not pruned yet.
    """
    weights, dense = prunable(model), Mask.dense(model)
    kept_by(context.density, dense.total, dense.total)  # It raises before all the gradients.
    initial = {name: weight.detach().clone() for name, weight in weights.items()}
    gradient = mean_gradient(model, context.batches, context.loss)
    for density in exponential(context.density, context.settings.rounds)[:-1]:
        mask = keep_top(_saliency(gradient, initial), density, within=dense)
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(initial[name])
        mask.apply_(model)
        gradient = loss_gradient(model, context.batches, context.loss)
    return _saliency(gradient, initial)


def _saliency(gradient: dict[str, Tensor], initial: dict[str, Tensor]) -> Scores:
    return {name: (part * initial[name]).abs_() for name, part in gradient.items()}


CRITERION = Criterion(
    "force",
    score,
    settings=Settings,
    paper="de Jorge et al., ICLR",
    year=2021,
    cost="60 gradients",
)
