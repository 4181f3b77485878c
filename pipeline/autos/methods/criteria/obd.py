"""OBD, optimal brain damage (LeCun et al., NeurIPS 1989): h * w^2 / 2, h the Hessian's diagonal.

The loss grows by this when the weight of a trained network is removed, as far as the Hessian is
diagonal. At initialisation the gradient is not 0, but its term -w * dL/dw is left out, as in the
comparisons of pruning at initialisation: that term alone is skeletonization.

h is the diagonal of the Gauss-Newton matrix J' H J, H the Hessian of the loss in the network's
outputs and J their derivative in the weights. It is that of the Hessian itself where a single
weight moves the outputs along straight lines, as in a network of ReLUs without BatchNorm. The mean
of (J' u)^2 over random u with covariance H estimates it without bias, and without the terms beside
the diagonal that swamp the products of the Hessian with random signs (Hutchinson, 1990) in a
network of several layers. For cross-entropy u is the gradient for labels that are drawn from the
softmax; for another loss it is a square root of H times random signs. Where the loss is concave in
the outputs, the score is negative.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from autos.config import Config, Rounds
from autos.errors import UserError
from autos.masks.selection import Scores
from autos.methods.base import Context, Criterion
from autos.network.batches import cross_entropy, logits, run, size
from autos.network.cost import count
from autos.network.gradients import checked
from autos.network.prunable import prunable

OUTPUTS = 2048
"""Number of outputs in a batch up to which the Hessian in them is computed as a whole."""

Draw = Callable[[], Iterator[tuple[int, Tensor]]]
"""Function that draws vectors u in the shape of the outputs, each with the sign of its part."""


class Settings(Config):
    """Settings of optimal brain damage."""

    samples: Rounds = 10
    """Number of random vectors per batch."""


def score(model: nn.Module, context: Context[Settings]) -> Scores:
    """Score every weight by h * w^2 / 2, with an estimate of h.

    Raises:
        UserError: The loss is NaN or infinite, or has no second derivative in the outputs; or it is
            not cross-entropy, and a batch has too many outputs.
    """
    weights = prunable(model)
    draws = context.settings.samples
    totals = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    samples = 0
    for index, batch in enumerate(context.batches):
        n = size(batch)
        output = run(model, batch)
        outputs = logits(output)
        loss = checked(context.loss(output, batch), index)
        drawing = _labels if context.loss is cross_entropy else _signs
        draw = drawing(loss, outputs, context.generator)
        for _ in range(draws):
            for sign, vector in draw():
                count(backward=n)
                parts = torch.autograd.grad(
                    outputs, list(weights.values()), vector,
                    retain_graph=True, materialize_grads=True,
                )  # fmt: skip
                for total, part in zip(totals.values(), parts, strict=True):
                    total.addcmul_(part, part, value=sign * n / draws)
        samples += n
    return {name: totals[name] / samples * w.detach().square() / 2 for name, w in weights.items()}


def _labels(loss: Tensor, outputs: Tensor, generator: torch.Generator) -> Draw:
    """Prepare to draw u for cross-entropy: the softmax minus a label that is drawn from it.

    Its covariance is diag(p) - p p', and the Hessian of a position is that times a factor, which
    its product with the likeliest class tells: 1 / n, or 0 for a label that does not count.
    """
    slope = _slope(loss, outputs)
    # Cross-entropy's gradient sums to 0 over the classes, be they the second axis or the last.
    axes = (1, outputs.ndim - 1) if outputs.ndim > 1 else (0, 0)
    axis = min(axes, key=lambda axis: float(slope.detach().sum(axis).abs().max()))
    p = outputs.detach().softmax(axis)
    likeliest = torch.zeros_like(p).scatter_(axis, p.argmax(axis, keepdim=True), 1)
    (product,) = torch.autograd.grad(slope, outputs, likeliest, retain_graph=True)
    variance = (likeliest * p * (1 - p)).sum(axis, keepdim=True)
    factor = (likeliest * product).sum(axis, keepdim=True) / variance.clamp(min=1e-30)
    scale = factor.clamp(min=0).sqrt()
    shares = p.movedim(axis, -1).flatten(0, -2).cpu()

    def draw() -> Iterator[tuple[int, Tensor]]:
        drawn = torch.multinomial(shares, 1, generator=generator).to(p.device)
        places = drawn.view(p.movedim(axis, -1).shape[:-1]).unsqueeze(axis)
        yield 1, scale * p.scatter_add(axis, places, -torch.ones_like(p))

    return draw


def _signs(loss: Tensor, outputs: Tensor, generator: torch.Generator) -> Draw:
    """Prepare to draw u for any loss: a square root of its Hessian in the outputs, times signs.

    Raises:
        UserError: The loss has no second derivative, or there are too many outputs.
    """
    if outputs.numel() > OUTPUTS:
        raise UserError(
            f"obd needs the second derivative of the loss in {outputs.numel():,} outputs of a "
            f"batch; up to {OUTPUTS:,} are possible: give smaller batches, or leave the loss to be "
            "cross-entropy"
        )
    slope = _slope(loss, outputs).flatten()
    if slope.requires_grad:
        basis = torch.eye(len(slope), dtype=slope.dtype, device=slope.device)
        rows = [torch.autograd.grad(slope, outputs, row, retain_graph=True)[0] for row in basis]
        hessian = torch.stack(rows).flatten(1).double()
    else:  # The loss is linear in the outputs.
        hessian = torch.zeros(len(slope), len(slope), dtype=torch.double, device=slope.device)
    values, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
    least = 1e-9 * values.abs().max()
    roots = []
    for sign in (1, -1):
        chosen = sign * values > least
        if chosen.any():
            root = vectors[:, chosen] * values[chosen].abs().sqrt() @ vectors[:, chosen].T
            roots.append((sign, root.to(outputs.dtype)))

    def draw() -> Iterator[tuple[int, Tensor]]:
        signs = torch.randint(2, (outputs.numel(),), generator=generator) * 2 - 1
        for sign, root in roots:
            yield sign, (root @ signs.to(root)).view_as(outputs)

    return draw


def _slope(loss: Tensor, outputs: Tensor) -> Tensor:
    """Return the derivative of the loss in the outputs, which can be differentiated again.

    Raises:
        UserError: The loss does not depend on these outputs.
    """
    (slope,) = torch.autograd.grad(loss, outputs, create_graph=True, allow_unused=True)
    if slope is None:
        raise UserError("obd needs a loss of the model's logits, or of its first output")
    return slope


CRITERION = Criterion(
    "obd",
    score,
    settings=Settings,
    paper="LeCun et al., NeurIPS",
    year=1989,
    cost="10 gradients",
)
