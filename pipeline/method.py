"""What a method is: it finds the weights of a network to keep, and says where to train on from."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pipeline.batches import Batches, Loss, cross_entropy
from pipeline.budget import Budget
from pipeline.config import Config
from pipeline.cost import Cost
from pipeline.errors import UserError
from pipeline.masks import Mask
from pipeline.prunable import prunable
from pipeline.selection import kept_by
from pipeline.working_copy import working_copy

Kind = Literal["score", "iterative", "search", "dynamic"]
"""Score at initialisation; pruning while or between trainings; training the mask under fixed
weights; a mask that changes while the weights are trained."""

Data = Literal["none", "scoring", "training"]
"""No data but an input's shape; a few batches for gradients; whole trainings."""


@dataclass(frozen=True)
class Context:
    """What a method may look at besides the model.

    Attributes:
        batches: the data: a few batches to score on, or all of them to train on.
        density: the fraction of weights that the final mask keeps.
        generator: the only source of randomness, on the CPU.
        loss: of the model's output and a batch, the mean over its samples.
        settings: hyperparameters, an object of the method's `settings`.
        budget: how to train; None for methods that do not.
        seed: that everything random follows from.
    """

    batches: Batches
    density: float
    generator: torch.Generator
    loss: Loss = cross_entropy
    settings: Any = field(default_factory=Config)
    budget: Budget | None = None
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """What a method finds.

    Attributes:
        mask: the weights to keep.
        start: state to train on from, as of `state_dict()`; None is the model's own.
        step: optimizer steps of the recipe that `start` has behind it: data order and learning
            rate go on from there.
        trained: nothing is left to train: `start` is the final sparse network.
        cost: of finding it; `pipeline.find` fills it in.
    """

    mask: Mask
    start: Mapping[str, Tensor] | None = None
    step: int = 0
    trained: bool = False
    cost: Cost | None = None


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to find a mask, and what is to be known about it.

    Attributes:
        kind: of method.
        data: that it needs.
        paper: authors and venue, as they are cited.
        year: of the paper.
        cost: in words, such as "100 passes of one sample".
        settings: its hyperparameters; the defaults are those of the authors.
    """

    kind: Kind = "score"
    data: Data = "scoring"
    paper: str = ""
    year: int | None = None
    cost: str = ""
    settings: type[Config] = Config

    @property
    @abstractmethod
    def function(self) -> Callable[..., Any]:
        """What is particular to the method; its module describes it."""

    @abstractmethod
    def find(self, model: nn.Module, context: Context) -> Found:
        """Find a mask with exactly round(density * n) of n weights; `model` stays untouched."""


@dataclass(frozen=True)
class TrainingMethod(Method):
    """A method that trains.

    Attributes:
        search: gets a copy of the model that it may change, and how it may train.
    """

    search: Callable[[nn.Module, Context, Budget], Found]
    kind: Kind = field(default="iterative", kw_only=True)
    data: Data = field(default="training", kw_only=True)

    @property
    def function(self) -> Callable[..., Any]:
        return self.search

    def find(self, model: nn.Module, context: Context) -> Found:
        """Raises UserError: there is no budget, or the density keeps no weight; otherwise as the
        method does."""
        if context.budget is None:
            raise UserError(f"{self.function.__module__.split('.')[-1]} trains: give a recipe")
        total = sum(weight.numel() for weight in prunable(model).values())
        kept_by(context.density, total, total)  # or it would turn out after all the training
        copy = working_copy(model)
        if not copy.training:  # as pre-trained networks come
            copy.train()
        return self.search(copy, context, context.budget)
