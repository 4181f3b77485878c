"""GraSP (Wang et al., ICLR 2020, eq. 8): S = -w * Hg; weights with the largest S are pruned.

To first order, removing a weight changes the gradient norm g'g by 2S, so a large S marks a weight
whose removal raises the gradient flow. The AutoS paper's text prunes the other end; this is the
end of GraSP's own code. As there, the logits are divided by a temperature of 200 (of
a model that returns neither a tensor nor "logits" nothing is divided). The official
code also re-draws linear layers while scoring, which is left out: the scores belong to the given
weights.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipeline.batches import Batch, run
from pipeline.criterion import Context, Criterion
from pipeline.gradients import summed_gradient
from pipeline.prunable import prunable
from pipeline.selection import Scores

TEMPERATURE = 200


def score(model: nn.Module, context: Context) -> Scores:
    weights = prunable(model)
    parameters = list(weights.values())

    def loss(batch: Batch) -> Tensor:
        return context.loss(tempered(run(model, batch)), batch)

    def along_gradient(batch: Batch) -> Tensor:
        """Its gradient is the Hessian of this batch's loss times `g`."""
        first = torch.autograd.grad(loss(batch), parameters, create_graph=True, allow_unused=True)
        return sum(
            ((a * b).sum() for a, b in zip(first, g, strict=True) if a is not None),
            start=torch.zeros((), device=parameters[0].device),
        )

    with sdpa_kernel(SDPBackend.MATH):  # the one attention kernel with a second derivative
        g, samples = summed_gradient(parameters, context.batches, loss)
        torch._foreach_div_(g, samples)
        hg, _ = summed_gradient(parameters, context.batches, along_gradient)
    torch._foreach_div_(hg, samples)
    # Higher means keep, so the score is -S.
    return {name: (w * h).detach() for (name, w), h in zip(weights.items(), hg, strict=True)}


def tempered(output: Any) -> Any:
    """What the model returned, with its logits divided by the temperature."""
    if isinstance(output, Tensor):
        return output / TEMPERATURE
    if isinstance(output, Mapping) and "logits" in output:
        divided: Any = copy.copy(output)
        divided["logits"] = output["logits"] / TEMPERATURE
        return divided
    return output


CRITERION = Criterion(score, batch_norm="train")
