"""What AutoS sees of a weight at initialisation.

Scaling a layer adds one constant to every path through the network, and changes nothing else:

- path: log of the synaptic flow s through the weight, which tells layers apart as well;
- unit: log of the flow into the weight's output unit, the sum of its s;
- step: log |w - c g|, the size of the weight one step of gradient descent ahead;
- growth: tanh(-w g), whether that step makes the weight larger.

All but `path` are counted from their mean over the layer. The weight w and its gradient g are in
units of their layer's root mean square, over what is left of the layer.
"""

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from autos.errors import UserError
from autos.network.batches import Batch, Batches, Loss, Prepared, cross_entropy, size
from autos.network.flow import flow_
from autos.network.gradients import finite, loss_gradient
from autos.network.prunable import layouts, prunable
from autos.network.wiring import neutral_, without_normalisation
from autos.network.working_copy import in_double, rewind_, working_copy

Named = Mapping[str, Tensor]
"""Values of every prunable weight, by its name."""

Feature = Literal["path", "unit", "step", "growth"]
FEATURES: tuple[Feature, ...] = get_args(Feature)

STEP = 0.3
"""Length c of the step, in units of the weights' root mean square."""

SAMPLES = 250
"""Number of samples that the gradient is taken on, if there are as many."""

TINY = 1e-300
"""Stands for a flow of 0, which has no logarithm."""

NO_FLOW = 1e-12
"""Share of the largest layer's flow up to which a flow is what rounding has left of 0."""


def features(
    model: nn.Module, batches: Batches, loss: Loss = cross_entropy
) -> Iterator[tuple[str, Tensor]]:
    """Compute the features of every prunable weight.

    Weights that are 0, or through which nothing flows, count in no mean and come out lowest. Biases
    and scales that are no prunable weights do not count for the flow.

    Args:
        model: The network, which is left untouched.
        batches: The gradient is taken on the first `SAMPLES` samples, in whole batches.
        loss: Function of the model's output and a batch.

    Yields:
        Name of the weight, and its features as float32 [4, *shape], in the order of `FEATURES`.

    Raises:
        UserError: The loss, a gradient or a flow is NaN or infinite.
    """
    weights = prunable(model)
    gradients = loss_gradient(model, _first(batches), loss)
    doubled = working_copy(model, double=True).eval()
    weight = next(iter(weights.values()))
    sample = next(iter(Prepared(batches, device=weight.device, dtype=torch.float64)))

    def flow() -> Named:
        neutral_(doubled)
        with without_normalisation(doubled):
            return flow_(doubled, sample)

    flows = in_double(flow, lambda: rewind_(doubled, model))
    for name, through in flows.items():
        if not finite(through):
            raise UserError(f"the flow through {name} overflows; autos_paper does without flow")
    flows = _seen(flows, weights, gradients)
    axes = layouts(model)
    for name, weight in weights.items():
        through = flows[name]
        left = through > 0
        into = axes[name].by_unit(through.clamp(min=0))
        total = into.sum(dim=tuple(range(1, into.ndim)), keepdim=True)
        unit = axes[name].restored(_log(total).expand_as(into))
        w, g = (_scaled(x.detach(), left) for x in (weight, gradients[name]))
        columns = [
            _log(through),
            _centred(unit, left),
            _centred((w - STEP * g).abs().add(1e-6).log(), left),
            _centred(torch.tanh(-w * g), left),
        ]
        yield name, torch.stack([column.float() for column in columns])


def feature_table(
    model: nn.Module, batches: Batches, loss: Loss = cross_entropy
) -> dict[str, np.ndarray]:
    """Compute the features as the columns of a table, with a row per prunable weight.

    This is what the registered model `autos` takes: `model.predict(pandas.DataFrame(table))`.

    Args:
        model: The network, which is left untouched.
        batches: What the gradient is taken on.
        loss: Function of the model's output and a batch.

    Returns:
        Columns [n] by name: "layer", the name of the weight's layer, and each of `FEATURES`.

    Raises:
        UserError: The loss, a gradient or a flow is NaN or infinite.
    """
    layers = dict(features(model, batches, loss))
    sizes = [values[0].numel() for values in layers.values()]
    columns = torch.cat([values.flatten(1) for values in layers.values()], dim=1).cpu().numpy()
    return {"layer": np.repeat(list(layers), sizes), **dict(zip(FEATURES, columns, strict=True))}


def _seen(flows: Named, weights: Named, gradients: Named) -> Named:
    """Give the mean flow to layers that the loss depends on, but the flow does not.

    A flow of ones keeps gates wide open and makes all places of a sequence the same, so that it
    tells nothing of what steers a gate or makes queries and keys.
    """
    totals = {name: float(flow.sum()) for name, flow in flows.items()}
    least = NO_FLOW * max(totals.values())
    blind = {name for name in flows if totals[name] <= least and gradients[name].any()}
    if not 0 < len(blind) < len(flows):
        return flows
    logs = torch.cat([flow[flow > 0].log() for name, flow in flows.items() if name not in blind])
    mean = logs.mean().exp()
    return {
        name: (weights[name] != 0) * mean if name in blind else flow for name, flow in flows.items()
    }


def _first(batches: Batches) -> Iterator[Batch]:
    """Yield as many batches as make `SAMPLES`."""
    seen = 0
    for batch in batches:
        yield batch
        seen += size(batch)
        if seen >= SAMPLES:
            return


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=TINY).log()


def _scaled(values: Tensor, left: Tensor) -> Tensor:
    """Divide by the root mean square over what is left."""
    chosen = values[left]
    return values / chosen.square().mean().sqrt().clamp(min=1e-20) if len(chosen) else values


def _centred(values: Tensor, left: Tensor) -> Tensor:
    """Subtract the mean over what is left."""
    return values - values[left].mean() if left.any() else values
