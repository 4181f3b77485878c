"""Parts of mask search: fixed weights, a score for each, and training of the scores alone.

In the forward pass a weight counts as weight * mask. In the backward pass the gradient passes the
mask as if it were the score (straight-through estimator, Bengio et al., arXiv 2013), so that pruned
weights can come back. Biases and normalisation are frozen as they are: in all the papers only
scores are trained. BatchNorm's running statistics follow the masked network, so that it can be
judged before its weights are trained.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from autos.config import Config
from autos.masks.bits import Bits
from autos.masks.mask import Mask
from autos.masks.selection import Scores, keep_top
from autos.network.prunable import layouts, places, prunable
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop


class ScoreTraining(Config):
    """Settings of the training of scores, which is SGD on the recipe's batches."""

    epochs: int | None = Field(default=None, gt=0, le=100_000)
    """Number of epochs; None means as many as the recipe has."""

    lr: float = Field(default=0.1, gt=0)
    """Learning rate at the beginning."""

    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Momentum of SGD."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of the scores."""

    schedule: Literal["cosine", "constant"] = "cosine"
    """Whether the learning rate falls to 0 along a cosine or stays as it is."""

    def changes(self) -> dict[str, Any]:
        """Return the changes of the recipe by which scores are trained."""
        own = {"epochs", "lr", "momentum", "weight_decay"}
        return {
            "optimizer": "sgd",
            "nesterov": False,
            "schedule": "cosine" if self.schedule == "cosine" else "multistep",
            "milestones": [],
            **self.model_dump(include=own, exclude_none=True),
        }


class _StraightThrough(torch.autograd.Function):
    """Passes the second argument on, and the gradient back to the first argument."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor, hard: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def identity(scores: Tensor) -> Tensor:
    """Return the scores as they are."""
    return scores


class Scored(nn.Module):
    """Parametrization of a weight by its scores.

    Attributes:
        scores: Trainable scores, one per weight.
        soft: Function of the scores that receives the gradient of the mask.
        keep: Mask of zeros and ones, in the precision of the scores.
    """

    keep: Tensor

    def __init__(self, scores: Tensor, soft: Callable[[Tensor], Tensor] = identity) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)
        self.soft = soft
        self.register_buffer("keep", torch.ones_like(scores))

    def mask(self) -> Tensor:
        """Return the mask, whose gradient passes to the scores."""
        mask: Tensor = _StraightThrough.apply(self.soft(self.scores), self.keep)
        return mask

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask()


class Search(Callback, ABC):
    """Trains scores, and chooses the masks anew before the first step and after every step."""

    def __init__(self, scored: Mapping[str, Scored], regularization: float = 0.0) -> None:
        """Prepare the training.

        Args:
            scored: Parametrizations by the names of their weights.
            regularization: Factor of the sum of all squared scores, which is added to the loss.
        """
        self.scored = scored
        self.regularization = regularization

    @abstractmethod
    def choose(self, loop: Loop) -> Mapping[str, Tensor]:
        """Return the masks for the next step by name, true or 1 where a weight is kept."""

    @property
    def scores(self) -> Scores:
        """Scores by name, detached from their gradient."""
        return {name: part.scores.detach() for name, part in self.scored.items()}

    @property
    def mask(self) -> Mask:
        """Mask that was chosen last."""
        return Mask(Bits({name: part.keep.bool() for name, part in self.scored.items()}))

    @torch.no_grad()
    def on_start(self, loop: Loop) -> None:
        for name, keep in self.choose(loop).items():
            self.scored[name].keep.copy_(keep)

    def after_step(self, loop: Loop) -> None:
        self.on_start(loop)

    def penalty(self, loop: Loop) -> Tensor | float:
        if not self.regularization:
            return 0.0
        squares = [part.scores.square().sum() for part in self.scored.values()]
        return self.regularization * torch.stack(squares).sum()

    def train(self, model: nn.Module, budget: Budget, settings: ScoreTraining) -> None:
        """Train the scores; in the model, only BatchNorm's statistics change, in place."""
        scored = [
            (module, attribute, self.scored[name])
            for name, weight in prunable(model).items()
            for module, attribute in places(model, weight)
        ]
        model.requires_grad_(False)
        for module, attribute, part in scored:
            parametrize.register_parametrization(module, attribute, part)
        budget.train(model, callbacks=[self], **settings.changes())
        for module, attribute, _ in scored:
            parametrize.remove_parametrizations(module, attribute, leave_parametrized=False)


def decaying(final: float, cuts: int, loop: Loop) -> float:
    """Return the density after the cuts that are due.

    Each cut leaves the same share of the rest. The cuts are evenly spaced, and training goes on
    after the last one for as long as between two of them.

    Args:
        final: Density after the last cut.
        cuts: Number of cuts in the training.
        loop: The training.
    """
    due = min(loop.step * (cuts + 1) // loop.steps, cuts)
    return final ** (due / cuts)


def top_of_layers(scores: Scores, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Mark the highest scores of every layer, as many as `counts` says."""
    masks = {}
    for name, score in scores.items():
        everything = Mask(Bits.full({name: score.shape}, True))
        masks[name] = torch.zeros(score.shape, dtype=torch.bool)
        if counts[name]:
            density = counts[name] / score.numel()
            masks[name] = keep_top({name: score}, density, within=everything).keep[name]
    return masks


def uniform_like(weight: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Draw from U[low, high) in the shape, on the device and in the precision of `weight`."""
    draw = torch.rand(weight.shape, generator=generator, dtype=weight.dtype)
    return draw.mul_(high - low).add_(low).to(weight.device)


def fan_in(model: nn.Module) -> dict[str, int]:
    """Return the number of inputs of one output unit, for every prunable weight by name."""
    axes, weights = layouts(model), prunable(model)
    return {name: axes[name].by_unit(weight)[0].numel() for name, weight in weights.items()}


@torch.no_grad()
def signed_constant_(model: nn.Module, density: float = 1.0) -> None:
    """Give weights the size sqrt(2 / (fan_in * density)), in place; their signs stay.

    A weight of 0 counts as positive. sqrt(2 / fan_in) is the standard deviation of He et al. (ICCV
    2015, eq. 10).
    """
    fans = fan_in(model)
    for name, weight in prunable(model).items():
        size = torch.full_like(weight, math.sqrt(2 / (fans[name] * density)))
        weight.copy_(torch.where(weight < 0, -size, size))


def plain_batch_norm_(model: nn.Module) -> None:
    """Reset BatchNorm in place, to no statistics and to the scale 1 and shift 0 of a plain one."""
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.training:  # It is in eval mode if frozen.
            module.reset_parameters()
