"""GraSP (Wang et al., ICLR 2020, eq. 8): S = -w * Hg; weights with the largest S are pruned.

To first order, removing a weight changes the gradient norm g'g by 2S, so a large S marks a weight
whose removal raises the gradient flow. The AutoS paper's text prunes the other end; this is the
end of GraSP's own code. As there, the logits are divided by a temperature of 200; a loss
that the model itself returns is taken as it is, and of outputs that are neither a tensor nor have
"logits" nothing is divided. The official code also re-draws linear layers while scoring, which is
left out: the scores belong to the given weights.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from pipeline.batches import Batch, run, size
from pipeline.cost import count
from pipeline.criterion import Criterion
from pipeline.gradients import gradient_of, mean_gradient
from pipeline.method import Context
from pipeline.prunable import prunable
from pipeline.selection import Scores

TEMPERATURE = 200


def score(model: nn.Module, context: Context) -> Scores:
    weights = prunable(model)

    def loss(output: Any, batch: Batch) -> Tensor:
        return context.loss(tempered(output), batch)

    def along_gradient(batch: Batch) -> Tensor:
        """Its gradient is the Hessian of this batch's loss times `g`."""
        value = loss(run(model, batch), batch)
        count(backward=size(batch))
        first = torch.autograd.grad(
            value, list(weights.values()), create_graph=True, materialize_grads=True
        )
        return torch.stack([(a * b).sum() for a, b in zip(first, g.values(), strict=True)]).sum()

    # Of torch's attention kernels this one has a second derivative.
    with sdpa_kernel(SDPBackend.MATH), TwiceDifferentiable():
        g = mean_gradient(model, context.batches, loss)
        hg = gradient_of(along_gradient, weights, context.batches)
    # Higher means keep, so the score is -S.
    return {name: hg[name].mul_(weight.detach()) for name, weight in weights.items()}


class TwiceDifferentiable(TorchFunctionMode):
    """Computes hardsigmoid, which has no second derivative in torch, by its definition."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        return function(*args, **(kwargs or {}))


def tempered(output: Any) -> Any:
    """What the model returned, with its logits divided by the temperature."""
    if isinstance(output, Tensor):
        return output / TEMPERATURE
    if isinstance(output, Mapping) and "logits" in output:
        divided: Any = copy.copy(output)
        divided["logits"] = output["logits"] / TEMPERATURE
        return divided
    return output


CRITERION = Criterion(
    score,
    batch_norm="train",
    paper="Wang et al., ICLR",
    year=2020,
    cost="2 gradients, 1 Hessian product",
)
