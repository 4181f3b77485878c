"""Gradient of the mean loss with respect to the prunable weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.criterion import Batches
from pipeline.errors import UserError
from pipeline.masks import prunable


def mean_gradient(model: nn.Module, batches: Batches) -> dict[str, Tensor]:
    """Gradient of the cross-entropy, averaged over all samples; shapes are those of the weights.

    The mean, not the sum over batches of the AutoS code, so that it does not grow with the number
    of batches.

    Raises:
        UserError: a gradient is NaN or infinite.
    """
    weights = prunable(model)
    total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    samples = 0
    for inputs, labels in batches:
        loss = F.cross_entropy(model(inputs), labels, reduction="sum")
        for sum_, gradient in zip(
            total.values(), torch.autograd.grad(loss, list(weights.values())), strict=True
        ):
            sum_ += gradient
        samples += len(labels)
    for name, sum_ in total.items():
        if not sum_.isfinite().all():
            raise UserError(f"the gradient of {name} is NaN or infinite on the scoring batches")
    return {name: sum_ / samples for name, sum_ in total.items()}
