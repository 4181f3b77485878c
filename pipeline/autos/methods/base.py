"""What a method is: it finds the weights of a network to keep, and says where to train on from.

A `Criterion` scores every weight of a network at hand, and the lowest scores go. A `TrainingMethod`
trains to find out. Both are a `Method`, with a name, settings, and facts about it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from autos.config import Config
from autos.errors import UserError
from autos.masks.mask import Mask
from autos.masks.selection import Scores, keep_top, kept_by
from autos.network.batches import Batches, Loss, Prepared, cross_entropy, seeded
from autos.network.cost import Cost
from autos.network.prunable import prunable
from autos.network.working_copy import (
    differentiable,
    in_double,
    random_state,
    rewind_,
    settle_frozen_,
    working_copy,
)
from autos.training.budget import Budget

Kind = Literal["score", "iterative", "search", "dynamic"]
"""The kinds of methods: a score at initialisation; pruning while or between trainings; training the
mask under fixed weights; a mask that changes while the weights are trained."""

Data = Literal["none", "scoring", "training"]
"""What a method needs: no data but an input's shape, a few batches for gradients, or trainings."""

S = TypeVar("S", bound=Config)
"""The settings of a method."""


@dataclass(frozen=True)
class Context(Generic[S]):
    """What a method may look at besides the model.

    Attributes:
        batches: The data: a few batches to score on, or all of them to train on.
        density: The fraction of weights that the final mask keeps.
        generator: The only source of randomness, on the CPU.
        loss: Function of the model's output and a batch, the mean over its samples.
        settings: The method's hyperparameters.
        budget: How to train; None for methods that do not train.
        seed: The number that everything random follows from.
    """

    batches: Batches
    density: float
    generator: torch.Generator
    loss: Loss = cross_entropy
    settings: S = field(default_factory=lambda: cast(Any, Config()))
    budget: Budget | None = None
    seed: int = 0


@dataclass(frozen=True)
class Found:
    """What a method finds.

    Attributes:
        mask: The weights to keep.
        start: The state to train on from, as of `state_dict()`; None is the model's own state.
        step: Number of optimizer steps of the recipe that `start` has behind it: data order and
            learning rate go on from there.
        trained: Whether nothing is left to train, so that `start` is the final sparse network.
        cost: What finding the mask cost; `autos.find` fills it in.
        coverage: The share of the network's weights that the mask covers; `autos.find` fills it in.
    """

    mask: Mask
    start: Mapping[str, Tensor] | None = None
    step: int = 0
    trained: bool = False
    cost: Cost | None = None
    coverage: float | None = None


@dataclass(frozen=True, kw_only=True)
class Method(ABC, Generic[S]):
    """A way to find a mask, and what is to be known about it.

    Attributes:
        name: What the method is called in settings, tables and on the command line.
        settings: Class of its hyperparameters; the defaults are those of the authors.
        kind: Kind of the method.
        data: What data it needs.
        paper: Authors and venue, as they are cited.
        year: Year of the paper.
        cost: What finding a mask costs, in words such as "100 passes of one sample".
    """

    name: str = field(kw_only=False)
    settings: type[S] = Config  # type: ignore[assignment]
    kind: Kind = "score"
    data: Data = "scoring"
    paper: str = ""
    year: int | None = None
    cost: str = ""

    @property
    @abstractmethod
    def function(self) -> Callable[..., Any]:
        """The function that is particular to the method; its module describes the method."""

    @abstractmethod
    def find(self, model: nn.Module, context: Context[S]) -> Found:
        """Find a mask with exactly round(density * n) of n weights; `model` stays untouched."""


Score = Callable[[nn.Module, Context[S]], Scores]
"""Function from a copy of the model, which it may change, with the pruned weights already zero, and
the context, to the scores of all weights."""


def one_round(density: float, settings: Any) -> list[float]:
    """Return the densities of a single round, in which everything is pruned at once."""
    return [density]


@dataclass(frozen=True)
class Criterion(Method[S]):
    """A score and the way it is meant to be used: the weights with the lowest scores are pruned.

    Attributes:
        score: Function of the model and the context.
        densities: Function from the final density and the settings to the density after each
            round; weights are scored anew in each round, on what the round before has left.
        double: Whether a copy in float64 is scored.
        batch_norm: "train" scores with batch statistics, "eval" with the running ones, and None
            leaves that to the caller.
        places: Whether scores say no more than which positions are kept at the density that is
            asked for. The scores of all other criteria order the weights of any network, be it
            trained or pruned already.
    """

    score: Score[S]
    densities: Callable[[float, S], list[float]] = field(default=one_round, kw_only=True)
    double: bool = field(default=False, kw_only=True)
    batch_norm: Literal["train", "eval"] | None = field(default=None, kw_only=True)
    places: bool = field(default=False, kw_only=True)

    @property
    def function(self) -> Callable[..., Any]:
        return self.score

    def find(self, model: nn.Module, context: Context[S], within: Mask | None = None) -> Found:
        """Find a mask by scores; `model` stays untouched.

        Args:
            model: The network; weights that `within` prunes are zero in it.
            context: What else the criterion may look at.
            within: Mask of the weights to choose from; None is all of them. Rounds then lead from
                its density to the final one.

        Raises:
            UserError: A score is NaN, no weight can be kept, or the score itself raises the error.
        """
        scored = working_copy(model, double=self.double)
        if self.batch_norm is not None:
            scored.train(self.batch_norm == "train")
        weight = next(iter(prunable(scored).values()))
        prepared = Prepared(context.batches, device=weight.device, dtype=weight.dtype)
        context = replace(context, batches=prepared)
        mask = within or Mask.dense(model)
        for index, target in enumerate(self._targets(context, mask.density)):
            if index:
                rewind_(scored, model)
                mask.apply_(scored)
            plain = torch.autocast(weight.device.type, enabled=False)
            order = seeded(prepared.batches, context.seed)
            with random_state(context.seed), order, plain, differentiable(scored):
                # Selection is part of the block, since scores may be computed when they are read.
                mask = self._kept(scored, model, context, target, mask)
        return Found(mask)

    def _kept(
        self, scored: nn.Module, model: nn.Module, context: Context[S], target: float, mask: Mask
    ) -> Mask:
        """Return the mask after one round on `scored`."""
        drawn = context.generator.get_state()

        def kept() -> Mask:
            return keep_top(self.score(scored, context), target, within=mask)

        def again() -> None:
            context.generator.set_state(drawn)
            rewind_(scored, model)
            mask.apply_(scored)

        return in_double(kept, again) if self.double else kept()

    def _targets(self, context: Context[S], present: float) -> list[float]:
        """Return the densities after each round, from the present density on."""
        if present == 1 or self.densities is one_round:
            return self.densities(context.density, context.settings)
        relative = self.densities(min(context.density / present, 1.0), context.settings)
        return [present * density for density in relative[:-1]] + [context.density]


@dataclass(frozen=True)
class TrainingMethod(Method[S]):
    """A method that trains.

    Attributes:
        search: Function of a copy of the model, which it may change, of the context, and of the
            budget, by which it trains.
    """

    search: Callable[[nn.Module, Context[S], Budget], Found]
    kind: Kind = field(default="iterative", kw_only=True)
    data: Data = field(default="training", kw_only=True)

    @property
    def function(self) -> Callable[..., Any]:
        return self.search

    def find(self, model: nn.Module, context: Context[S]) -> Found:
        """Find a mask by training; `model` stays untouched.

        Raises:
            UserError: There is no budget, the density keeps no weight, or the search itself raises
                the error.
        """
        if context.budget is None:
            raise UserError(f"{self.name} trains: give a recipe")
        for name, weight in prunable(model).items():
            if not weight.requires_grad:
                raise UserError(
                    f"{name} is frozen, and {self.name} trains the weights that it prunes: set "
                    "requires_grad, or leave it out of `include`"
                )
        total = sum(weight.numel() for weight in prunable(model).values())
        kept_by(context.density, total, total)  # It raises here, not after all the training.
        copy = working_copy(model)
        if not copy.training:  # Pre-trained networks come in eval mode.
            copy.train()
        settle_frozen_(copy)
        return self.search(copy, context, context.budget)
