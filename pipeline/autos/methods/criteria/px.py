"""PX, path exclusion (Iurada et al., CVPR 2024, eq. 10): flow along the paths that data open.

Two networks without biases and normalisation stand in for the paths. The first has ones for the
weights that are left, sees the squared images, and its ReLUs are gates: open where those of the
network itself are open for the same images. The second has the squared weights and no gates, and
sees ones. R is the sum over images and outputs of the product of the two, and the score is
w^2 * dR/dw^2.

An activation of another kind that is the input times a factor, such as GELU or SiLU, is a gate with
that factor; all others stay as they are. BatchNorm uses its running statistics where the gates are
found. The authors replace `F.relu` for the whole process and spare layers by their name; here every
way to call a ReLU is a gate, and all prunable layers are pruned.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from autos.config import Config, Rounds
from autos.errors import UserError
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.schedules import exponential
from autos.network.batches import Batch, logits, map_tensors, ones, run
from autos.network.cost import count
from autos.network.gradients import with_parameters
from autos.network.prunable import prunable
from autos.network.wiring import neutral_, without_normalisation
from autos.network.working_copy import copied

ACTIVATIONS = {
    F.relu, F.relu6, F.leaky_relu, F.prelu, F.elu, F.celu, F.selu, F.gelu, F.silu, F.mish,
    F.hardswish, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_,
}  # fmt: skip
"""Functions that are gates: their value is the input times a factor."""


class Settings(Config):
    """Settings of path exclusion."""

    rounds: Rounds = 100
    """Number of rounds."""


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score every weight by w^2 * dR/dw^2.

    Raises:
        UserError: The network calls other activations from one pass to the next.
    """
    weights = prunable(model)
    left = {name: (weight != 0).to(weight) for name, weight in weights.items()}
    squares = {name: w.detach().square().requires_grad_() for name, w in weights.items()}
    paths = copied(model).eval()
    neutral_(paths)
    batches = list(context.batches)
    with without_normalisation(paths):
        ends = [_opened(model, with_parameters(paths, left), batch) for batch in batches]
        with Gates(None):
            strength = logits(run(with_parameters(paths, squares), ones(batches[0])))
    count(backward=1)
    # The scale does not matter, and the number of paths may be huge.
    opened = torch.cat(ends).sum(0, keepdim=True)
    flow = (opened / opened.abs().max().clamp(min=1e-300) * strength).sum()
    gradients = torch.autograd.grad(flow, list(squares.values()), materialize_grads=True)
    return {
        name: square.detach() * gradient
        for (name, square), gradient in zip(squares.items(), gradients, strict=True)
    }


@torch.no_grad()
def _opened(model: nn.Module, paths: nn.Module, batch: Batch) -> Tensor:
    """Return what the squared images become in a network of ones behind the network's gates."""
    with Gates() as gates:
        run(model, batch)
    squared = map_tensors(lambda t: t.square() if t.is_floating_point() else t, batch)
    with Gates(iter(gates.factors)):
        return logits(run(paths, squared)).sum(0, keepdim=True)


class Gates(TorchFunctionMode):
    """Mode in which activations are gates.

    Args:
        given: Factors of the activations, in the order of the calls; None stands for open gates,
            and without it activations are as ever and their factors are noted.

    Attributes:
        factors: The factors of the activations that were called, in the order of the calls.
    """

    def __init__(self, *given: Iterator[Tensor] | None) -> None:
        super().__init__()
        self.given = given
        self.factors: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function not in ACTIVATIONS:
            return function(*args, **(kwargs or {}))
        if not self.given:
            before = args[0].clone()  # The activation may change it in place.
            after = function(*args, **(kwargs or {}))
            self.factors.append(torch.where(before == 0, 0, after / before))
            return after
        if self.given[0] is None:
            return args[0]
        factor = next(self.given[0], None)
        if factor is None or factor.shape != args[0].shape:
            raise UserError("px needs the same activations in every pass of the network")
        return args[0] * factor


CRITERION = Criterion(
    "px",
    score,
    densities=lambda density, settings: exponential(density, settings.rounds),
    settings=Settings,
    double=True,
    batch_norm="eval",
    paper="Iurada et al., CVPR",
    year=2024,
    cost="300 passes",
)
