"""AutoS: how likely a weight is to survive iterative pruning, told at initialisation.

The log-odds of surviving are a weighted sum of what is known of a weight at initialisation
(`FEATURES`); its coefficients are learned from the surviving scores of source networks
(`pipeline.autos_fit`). A network is pruned as the sources were, in rounds, scored anew in each: at
its initial values, but in the network that is left.

To scale a layer adds one constant to every path of the network, and changes nothing else:

- path: log of the synaptic flow s through the weight, which tells layers apart as well;
- unit: log of the flow into the weight's output unit, the sum of its s;
- step: log |w - c g|, the weight one step of gradient descent ahead;
- growth: tanh(-w g), whether that step makes the weight larger.

All but `path` are counted from their mean over the layer. w and the gradient g are in units of
their layer's root mean square, over what is left of it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from pipeline.batches import Batch, Batches, Loss, Prepared, cross_entropy, size
from pipeline.connectivity import neutral_, without_normalisation
from pipeline.errors import UserError
from pipeline.files import SHIPPED, check_kind, file_digest, read_json, write_json
from pipeline.flow import flow_
from pipeline.gradients import finite, loss_gradient
from pipeline.prunable import is_transposed, prunable, slots
from pipeline.registry import located
from pipeline.selection import Scores
from pipeline.working_copy import working_copy

KIND, VERSION = "AutoS", 1
"""A file's coefficients hold for the features, STEP and ROUNDS of its version."""
FILE = "autos.json"

Feature = Literal["path", "unit", "step", "growth"]
FEATURES: tuple[Feature, ...] = get_args(Feature)
STEP = 0.3
"""c: of the weights' root mean square."""
ROUNDS = 30
SAMPLES = 250
"""That the gradient is taken on, if there are as many."""
TINY = 1e-300
NO_FLOW = 1e-12
"""Of the layer with the most: what rounding leaves."""


class AutoS:
    """A trained AutoS.

    Attributes:
        about: coefficients by feature, 0 for one that is not named, and what they were learned
            from.
    """

    rounds = ROUNDS
    """In which a network is to be pruned, with exponentially falling density."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about

    @property
    def coefficients(self) -> Mapping[Feature, float]:
        return self.about["coefficients"]

    def survival(self, model: nn.Module, batches: Batches, loss: Loss = cross_entropy) -> Scores:
        """Log-odds, up to a constant, of every weight's survival; a weight that is 0 is pruned.

        Args:
            batches: the gradient is taken on the first `SAMPLES` samples, in whole batches.
            loss: of the model's output and a batch.
        """
        scale = [self.coefficients.get(name, 0.0) for name in FEATURES]
        return {
            name: torch.tensordot(values.new_tensor(scale), values, dims=1)
            for name, values in features(model, batches, loss)
        }

    def save(self, folder: Path | str) -> None:
        write_json(Path(folder) / FILE, {"kind": KIND, "version": VERSION, **self.about})

    @staticmethod
    def digest(folder: Path) -> str:
        """Hash of what is saved in `folder`. Raises UserError: there is nothing."""
        return file_digest(folder / FILE)

    @classmethod
    def load(cls, folder: Path | str = SHIPPED) -> Self:
        """From a folder, or "models:/NAME@ALIAS" from MLflow's registry, as `Predictor.load`.

        Without argument it is what comes with the package.

        Raises:
            UserError: the file is missing or damaged, or of another version, or a model that MLflow
                does not hold or a store that is not reached.
        """
        path = located(folder) / FILE
        about = read_json(path)
        check_kind(path, about, kind=KIND, version=VERSION)
        return cls({k: v for k, v in about.items() if k not in ("kind", "version")})


def features(
    model: nn.Module, batches: Batches, loss: Loss = cross_entropy
) -> Iterator[tuple[str, Tensor]]:
    """Name and features [4, *shape] (float32) of every prunable weight.

    Weights that are 0, or through which nothing flows, count in no mean and come out lowest. Biases
    and scales that are no prunable weights do not count for the flow.

    Raises:
        UserError: the loss, a gradient or a flow is NaN or infinite.
    """
    weights = prunable(model)
    gradients = loss_gradient(model, _first(batches), loss)
    doubled = working_copy(model, double=True).eval()
    weight = next(iter(weights.values()))
    sample = next(iter(Prepared(batches, device=weight.device, dtype=torch.float64)))
    neutral_(doubled)
    with without_normalisation(doubled):
        flows = flow_(doubled, sample)
    for name, flow in flows.items():
        if not finite(flow):
            raise UserError(f"the flow through {name} overflows; autos_paper does without flow")
    flows = _seen(flows, weights, gradients)
    transposed = {name for name, layer, _ in slots(model) if is_transposed(layer)}
    for name, weight in weights.items():
        flow = flows[name]
        left = flow > 0
        others = [d for d in range(flow.ndim) if d != (1 if name in transposed else 0)]
        unit = flow.clamp(min=0).sum(dim=others, keepdim=True).expand_as(flow)
        w, g = (_scaled(x.detach(), left) for x in (weight, gradients[name]))
        columns = [
            _log(flow),
            _centred(_log(unit), left),
            _centred((w - STEP * g).abs().add(1e-6).log(), left),
            _centred(torch.tanh(-w * g), left),
        ]
        yield name, torch.stack([column.float() for column in columns])


def _seen(flows: Scores, weights: Scores, gradients: Scores) -> Scores:
    """Gives the mean flow to layers that the loss depends on, but the flow does not.

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
    """As many as make `SAMPLES`."""
    seen = 0
    for batch in batches:
        yield batch
        seen += size(batch)
        if seen >= SAMPLES:
            return


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=TINY).log()


def _scaled(values: Tensor, left: Tensor) -> Tensor:
    """In units of the root mean square over what is left."""
    chosen = values[left]
    return values / chosen.square().mean().sqrt().clamp(min=1e-20) if len(chosen) else values


def _centred(values: Tensor, left: Tensor) -> Tensor:
    return values - values[left].mean() if left.any() else values
