"""Synaptic flow (Tanaka et al., NeurIPS 2020, eq. 4): what passes through each weight.

R = 1' |W_L| ... |W_1| 1 is what a sample of ones becomes in a network of absolute values.
"""

import torch
from torch import Tensor, nn

from autos.errors import UserError
from autos.network.batches import Batch, ones, run, size, total
from autos.network.cost import count
from autos.network.gradients import first_derivatives
from autos.network.prunable import prunable


def flow_(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Compute the synaptic flow |w| * dR/d|w| through every prunable weight, in place.

    Use float64, since R overflows in deep networks in float32.

    Args:
        model: The network. Its parameters become their absolute values, and its prunable weights
            become the flow through them.
        batch: A batch of the form that the model takes; its floating-point values do not matter.
            R is the sum of all floating-point tensors that the model returns for a sample of it.

    Returns:
        Flows in the shapes of the weights, by name; they are the model's tensors, not copies.

    Raises:
        UserError: The model fails, or its output does not depend on the weights.
    """
    weights = prunable(model)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_complex():
                parameter.copy_(parameter.abs())
            else:
                parameter.abs_()
    sample = ones(batch)
    flow = total(run(model, sample))
    if not flow.requires_grad:
        raise UserError("nothing flows from the weights to the model's output")
    count(backward=size(sample))
    gradients = first_derivatives(flow, list(weights.values()))
    with torch.no_grad():  # New memory would take more time than the product.
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight.mul_(0 if gradient is None else gradient)
    return {name: weight.detach() for name, weight in weights.items()}
