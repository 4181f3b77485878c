"""What is known of every weight of a source network at its initialisation."""

from torch import Tensor, nn

from autos.network.batches import Batches
from autos.network.features import features
from autos.network.gradients import mean_gradient
from autos.network.prunable import prunable

WEIGHT, GRADIENT, FEATURES = "weight/", "gradient/", "features/"
"""What the names of the tensors begin with; the name of a weight follows."""


def at_start(model: nn.Module, batches: Batches) -> dict[str, Tensor]:
    """Return the initial weights, their gradients, and their features [4, *shape].

    Raises:
        UserError: The loss, a gradient or a flow is NaN or infinite, or no gradient is above 0.
    """
    gradients = mean_gradient(model, batches)
    tensors = {WEIGHT + name: weight.detach() for name, weight in prunable(model).items()}
    tensors |= {GRADIENT + name: gradient for name, gradient in gradients.items()}
    return tensors | {FEATURES + name: values for name, values in features(model, batches)}
