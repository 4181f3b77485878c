"""NTK-SAP (Wang et al., ICLR 2023, eq. 10): how much of the output's motion is a weight's.

J = |f(x; m * w) - f(x; m * (w + e d))|^2 for noise d and inputs x of noise estimates the trace of
the neural tangent kernel, and the score is |m * dJ/dm|. It needs the shape of an input and no data.
Weights are drawn anew for every estimate, by the initialisation that networks are pruned at, so
that the mask suits any of them: of the weights at hand it matters only which are 0, and those count
as pruned. BatchNorm has the statistics of the same inputs.
"""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autos.config import Config, Rounds
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.methods.schedules import exponential
from autos.network.batches import Batch, logits, map_tensors, run, size
from autos.network.cost import count
from autos.network.gradients import check_checkpoints, with_parameters
from autos.network.initialize import initialize
from autos.network.prunable import prunable
from autos.network.working_copy import copied


class Settings(Config):
    """Settings of NTK-SAP."""

    rounds: Rounds = 20
    """Number of rounds."""
    redraws: Rounds = 5
    """Number of initialisations per round; that for CIFAR-10, while larger image sets have 1."""
    epsilon: float = Field(default=0.01, gt=0)
    """Size e of the noise that is added to the weights."""


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score every weight by |m * dJ/dm|, summed over the redraws."""
    weights = prunable(model)
    masks = {name: (w != 0).to(w).requires_grad_() for name, w in weights.items()}
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    sample = next(iter(context.batches))
    for _ in range(context.settings.redraws):
        _redraw_(model, context.generator)
        batch = map_tensors(lambda tensor: _noise(tensor, context.generator), sample)
        one = {name: masks[name] * weight.detach() for name, weight in weights.items()}
        other = {
            name: part + context.settings.epsilon * masks[name] * _noise(part, context.generator)
            for name, part in one.items()
        }
        _measure_(model, one, batch)
        outputs = [logits(run(with_parameters(model, part), batch)) for part in (one, other)]
        change = (outputs[0] - outputs[1]).square().sum()
        check_checkpoints(change)
        count(backward=2 * size(batch))
        gradients = torch.autograd.grad(change, list(masks.values()), materialize_grads=True)
        for total, mask, gradient in zip(totals.values(), masks.values(), gradients, strict=True):
            total += (mask.detach() * gradient).abs_()
    return totals


def _redraw_(model: nn.Module, generator: torch.Generator) -> None:
    """Give the model a new initialisation, wherever it is."""
    seed = int(torch.randint(2**62, (), generator=generator))
    drawn = initialize(copied(model).cpu(), seed)
    model.load_state_dict(drawn.state_dict())


def _measure_(model: nn.Module, weights: Mapping[str, Tensor], batch: Batch) -> None:
    """Let the statistics of BatchNorm be those of the batch, and leave the model in eval mode."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # The statistics are then the mean over the passes so far.
    model.train()
    with torch.no_grad():
        run(with_parameters(model, weights), batch)
    model.eval()


def _noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Draw standard normal noise for a floating-point tensor, and leave another as it is."""
    if not tensor.is_floating_point():
        return tensor
    return torch.randn(tensor.shape, generator=generator).to(tensor)


CRITERION = Criterion(
    "ntk_sap",
    score,
    densities=lambda density, settings: exponential(density, settings.rounds),
    settings=Settings,
    data="none",
    batch_norm="eval",
    paper="Wang et al., ICLR",
    year=2023,
    cost="200 passes",
)
