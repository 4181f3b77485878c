"""Gradual pruning in one training: cuts at regular steps, to densities that fall as a cubic does.

The mask is meant for the initialisation, as "Revisiting the Lottery Ticket Hypothesis for
Pre-trained Networks" uses it: training stops with the last cut, and the weights are reset. With
`rewind: false` it runs to the end and its weights stay, as the authors of these methods mean it.
"""

from typing import Annotated, Any

from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.budget import Budget
from pipeline.callbacks import Callback, Loop
from pipeline.config import Config
from pipeline.masks import Mask
from pipeline.method import Found
from pipeline.schedules import cubic
from pipeline.selection import Scores, keep_top

Period = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(Config):
    """When to prune."""

    period: Period
    """Steps between two cuts; an epoch, if that is shorter."""

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
        """Density after the cut by the step after which it is made, at the end down to `density`.

        They are counted back from the end; the first is due a period after the beginning or later.
        """
        end = max(1, round(self.end * budget.steps))
        period = min(self.period, budget.steps_per_epoch)
        cuts = max(1, (end - round(self.begin * budget.steps)) // period)
        return {
            end - period * (cuts - cut): target
            for cut, target in enumerate(cubic(density, cuts), start=1)
        }


class GradualPruning(Callback):
    """Keeps the largest |w| of those that are left.

    Attributes:
        cuts: density by step.
        mask: after the last cut so far.
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
        scores: Scores = {name: weight.detach().abs() for name, weight in weights.items()}
        return keep_top(scores, density, within=self.mask)


def prune_gradually(
    model: nn.Module, budget: Budget, pruning: GradualPruning, *, rewind: bool, **changes: Any
) -> Found:
    """Train `model` in place, once.

    Args:
        rewind: the mask is for the initialisation; nothing of the training remains.
        changes: of the recipe.
    """
    last_step = max(pruning.cuts) if rewind else None
    budget.train(model, mask=pruning.mask, callbacks=[pruning], last_step=last_step, **changes)
    if rewind:
        return Found(pruning.mask)
    return Found(pruning.mask, start=model.state_dict(), trained=True)
