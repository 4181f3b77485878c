"""GraSP (Wang et al., ICLR 2020, eq. 8): S = -w * Hg; weights with the largest S are pruned.

To first order, removing a weight changes the gradient norm g'g by 2S, so a large S marks a weight
whose removal raises the gradient flow. The AutoS paper's text prunes the other end; this is the
end of GraSP's own code. As there, the logits are divided by a temperature of 200. The official
code also re-draws linear layers while scoring, which is left out: the scores belong to the given
weights.
"""

import torch
from torch import nn
from torch.nn import functional as F

from pipeline.criterion import Context, Criterion
from pipeline.masks import Scores, prunable

TEMPERATURE = 200


def score(model: nn.Module, context: Context) -> Scores:
    weights = list(prunable(model).values())
    batches = list(context.batches)
    samples = sum(len(labels) for _, labels in batches)

    def gradient(inputs: torch.Tensor, labels: torch.Tensor, create_graph: bool):
        loss = F.cross_entropy(model(inputs) / TEMPERATURE, labels, reduction="sum") / samples
        return torch.autograd.grad(loss, weights, create_graph=create_graph)

    g = [torch.zeros_like(w) for w in weights]
    for inputs, labels in batches:
        torch._foreach_add_(g, gradient(inputs, labels, create_graph=False))
    hg = [torch.zeros_like(w) for w in weights]
    for inputs, labels in batches:
        product = sum((a * b).sum() for a, b in zip(gradient(inputs, labels, True), g, strict=True))
        torch._foreach_add_(hg, torch.autograd.grad(product, weights))
    # Higher means keep, so the score is -S.
    return {
        name: (w * h).detach() for (name, w), h in zip(prunable(model).items(), hg, strict=True)
    }


CRITERION = Criterion(score, batch_norm="train")
