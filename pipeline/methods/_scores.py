"""What mask search is made of: fixed weights, a score for each, and training of the scores alone.

Forward a weight counts as weight * mask; backward the gradient passes the mask as if it were the
score (straight-through estimator, Bengio et al., arXiv 2013), so that pruned weights can come back.
Biases and normalisation are frozen as they are: in all the papers only scores are trained.
BatchNorm's running statistics follow the masked network, so that it can be judged untrained.
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

from pipeline.budget import Budget
from pipeline.callbacks import Callback, Loop
from pipeline.config import Config
from pipeline.masks import Bits, Mask
from pipeline.prunable import is_transposed, places, prunable, slots
from pipeline.selection import Scores, keep_top


class ScoreTraining(Config):
    """How scores are trained: SGD on the recipe's batches."""

    epochs: int | None = Field(default=None, gt=0)
    """As many as the recipe has, if None."""

    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    """Of the scores."""

    schedule: Literal["cosine", "constant"] = "cosine"

    def changes(self) -> dict[str, Any]:
        """Of the recipe."""
        own = {"epochs", "lr", "momentum", "weight_decay"}
        return {
            "optimizer": "sgd",
            "nesterov": False,
            "schedule": "cosine" if self.schedule == "cosine" else "multistep",
            "milestones": [],
            **self.model_dump(include=own, exclude_none=True),
        }


class _StraightThrough(torch.autograd.Function):
    """Forward the second argument, backward to the first."""

    @staticmethod
    def forward(ctx: Any, soft: Tensor, hard: Tensor) -> Tensor:
        return hard.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def identity(scores: Tensor) -> Tensor:
    return scores


class Scored(nn.Module):
    """Parametrization of a weight by its scores.

    Attributes:
        scores: one per weight, to be trained.
        soft: of the scores; the gradient of the mask goes there.
        keep: the mask, of zeros and ones in the precision of the scores.
    """

    keep: Tensor

    def __init__(self, scores: Tensor, soft: Callable[[Tensor], Tensor] = identity) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)
        self.soft = soft
        self.register_buffer("keep", torch.ones_like(scores))

    def mask(self) -> Tensor:
        mask: Tensor = _StraightThrough.apply(self.soft(self.scores), self.keep)
        return mask

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask()


class Search(Callback, ABC):
    """Trains scores; before the first step and after each it chooses the masks anew."""

    def __init__(self, scored: Mapping[str, Scored], regularization: float = 0.0) -> None:
        """
        Args:
            scored: for the weights of these names.
            regularization: times the sum of all squared scores is added to the loss.
        """
        self.scored = scored
        self.regularization = regularization

    @abstractmethod
    def choose(self, loop: Loop) -> Mapping[str, Tensor]:
        """The masks for the next step, in any type."""

    @property
    def scores(self) -> Scores:
        return {name: part.scores.detach() for name, part in self.scored.items()}

    @property
    def mask(self) -> Mask:
        """That was chosen last."""
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
        """Train the scores; of the model, in place, only BatchNorm's statistics change."""
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
    """The density after the cuts that are due: each of `cuts` leaves the same share of the rest.

    They are evenly spaced, and as long as between two of them the training goes on after the last.
    """
    due = min(loop.step * (cuts + 1) // loop.steps, cuts)
    return final ** (due / cuts)


def top_of_layers(scores: Scores, counts: Mapping[str, int]) -> dict[str, Tensor]:
    """True for as many of the highest scores of every layer as `counts` says."""
    masks = {}
    for name, score in scores.items():
        everything = Mask(Bits.full({name: score.shape}, True))
        masks[name] = torch.zeros(score.shape, dtype=torch.bool)
        if counts[name]:
            density = counts[name] / score.numel()
            masks[name] = keep_top({name: score}, density, within=everything).keep[name]
    return masks


def uniform_like(weight: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    """U[low, high) in the shape, on the device and in the precision of `weight`."""
    draw = torch.rand(weight.shape, generator=generator, dtype=weight.dtype)
    return draw.mul_(high - low).add_(low).to(weight.device)


def fan_in(model: nn.Module) -> dict[str, int]:
    """Inputs of one output of every prunable weight."""
    return {
        name: getattr(layer, attribute)[0].numel()
        if not is_transposed(layer)
        else getattr(layer, attribute).shape[0]
        for name, layer, attribute in slots(model)
    }


@torch.no_grad()
def signed_constant_(model: nn.Module, density: float = 1.0) -> None:
    """Give weights the size sqrt(2 / (fan_in * density)), their signs kept (0 counts as positive).

    sqrt(2 / fan_in) is the standard deviation of He et al. (ICCV 2015, eq. 10).
    """
    fans = fan_in(model)
    for name, weight in prunable(model).items():
        size = torch.full_like(weight, math.sqrt(2 / (fans[name] * density)))
        weight.copy_(torch.where(weight < 0, -size, size))


def plain_batch_norm_(model: nn.Module) -> None:
    """Scale 1 and shift 0, as BatchNorm without parameters has, and no statistics yet."""
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_parameters()
