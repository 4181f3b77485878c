"""Gradual pruning in one training: cuts at regular steps, to densities that fall as a cubic does.

The mask is meant for the initialisation, as "Revisiting the Lottery Ticket Hypothesis for
Pre-trained Networks" uses it: training stops with the last cut, and the weights are reset. With
`rewind: false` the training runs to the end and its weights stay, as the authors of these methods
mean it.
"""

from typing import Annotated, Any

from pydantic import Field, model_validator
from torch import Tensor, nn

from autos.config import Config
from autos.masks.mask import Mask
from autos.masks.selection import Scores, keep_top
from autos.methods.base import Found
from autos.methods.schedules import cubic
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop

Period = Annotated[int, Field(gt=0, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(Config):
    """Settings of a method that prunes gradually: when to prune."""

    period: Period
    """Number of steps between two cuts; an epoch, if that is shorter."""

    begin: Share
    """Share of the training before which nothing is pruned."""

    end: Share
    """Share of the training at which the last cut is made."""

    rewind: bool = True
    """Whether the mask is for the initialisation; otherwise the trained weights go with it."""

    @model_validator(mode="after")
    def _in_order(self) -> "Settings":
        if self.begin >= self.end:
            raise ValueError(f"begin is below end, not {self.begin:g} with end {self.end:g}")
        return self

    def cuts(self, density: float, budget: Budget) -> dict[int, float]:
        """Return the density after each cut, by the number of the step that the cut follows.

        Cuts are counted back from the end of pruning, and the first one is due a period after the
        beginning or later.

        Args:
            density: Density after the last cut.
            budget: Training in which the cuts are made.
        """
        end = max(1, round(self.end * budget.steps))
        period = min(self.period, budget.steps_per_epoch)
        cuts = max(1, (end - round(self.begin * budget.steps)) // period)
        return {
            end - period * (cuts - cut): target
            for cut, target in enumerate(cubic(density, cuts), start=1)
        }


class GradualPruning(Callback):
    """Keeps the largest |w| of the weights that are left.

    Attributes:
        cuts: Density after each cut, by the number of the step that the cut follows.
        mask: Mask after the last cut so far.
    """

    def __init__(self, model: nn.Module, cuts: dict[int, float]) -> None:
        self.cuts = cuts
        self.mask = Mask.dense(model)

    def after_step(self, loop: Loop) -> None:
        if loop.step in self.cuts:
            self.mask = self.cut(loop.weights, self.cuts[loop.step])
            for name, keep in loop.keep.items():
                keep.copy_(self.mask.keep[name])

    def cut(self, weights: dict[str, Tensor], density: float) -> Mask:
        """Return the mask after a cut, which keeps the largest |w| within the present mask."""
        scores: Scores = {name: weight.detach().abs() for name, weight in weights.items()}
        return keep_top(scores, density, within=self.mask)


def prune_gradually(
    model: nn.Module, budget: Budget, pruning: GradualPruning, *, rewind: bool, **changes: Any
) -> Found:
    """Train `model` in place, once, and prune it on the way.

    Args:
        model: Network to train.
        budget: Recipe and data of the training.
        pruning: Callback that makes the cuts.
        rewind: Whether the mask is for the initialisation, so that training stops with the last cut
            and its weights are dropped.
        changes: Changes of the recipe, for example `lr=0.1`.

    Returns:
        The mask after the last cut and, without `rewind`, the trained weights.
    """
    last_step = max(pruning.cuts) if rewind else None
    budget.train(model, mask=pruning.mask, callbacks=[pruning], last_step=last_step, **changes)
    if rewind:
        return Found(pruning.mask)
    return Found(pruning.mask, start=model.state_dict(), trained=True)
