"""How a method may train: by the recipe that the found network will be trained by, too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from pipeline.batches import Batches, Loss
from pipeline.callbacks import Callback
from pipeline.compute import Hardware
from pipeline.errors import UserError
from pipeline.masks import Mask
from pipeline.recipes import TrainConfig


@dataclass(frozen=True)
class Budget:
    """One full training, as often as a method asks for it; every one sees the same batches.

    Attributes:
        recipe: of a training from beginning to end.
        batches: of one epoch.
        loss: of the model's output and a batch.
        seed: of the order of the batches, augmentation and dropout.
        hardware: to train on.
    """

    recipe: TrainConfig
    batches: Batches
    loss: Loss
    seed: int
    hardware: Hardware

    @property
    def steps_per_epoch(self) -> int:
        """Raises UserError: the batches have no length."""
        try:
            return len(self.batches)  # type: ignore[arg-type]
        except TypeError:
            raise UserError(
                "a method that trains needs batches with a length: a list or a loader"
            ) from None

    @property
    def steps(self) -> int:
        """Optimizer steps of the recipe."""
        return self.recipe.epochs * self.steps_per_epoch

    def train(
        self,
        model: nn.Module,
        *,
        mask: Mask | None = None,
        callbacks: Sequence[Callback] = (),
        first_step: int = 0,
        last_step: int | None = None,
        **changes: Any,
    ) -> None:
        """Train `model` in place, from step `first_step` of the schedule up to `last_step`.

        Args:
            mask: pruned weights are zero from the first forward pass to the last; only with a
                mask, be it a dense one, do callbacks see weights.
            callbacks: see and change what happens at each step.
            first_step: learning rate and order of the batches go on as if that many steps were
                done.
            last_step: where to stop; at the end of the schedule, if None.
            changes: of the recipe, for example `lr=0.1`.

        Raises:
            UserError: the loss becomes NaN or infinite, or the recipe is not valid any more.
        """
        from pipeline.training import train  # Lightning takes seconds to import

        recipe = TrainConfig.validated({**self.recipe.model_dump(), **changes}, "recipe")
        train(
            model,
            self.batches,
            recipe,
            steps_per_epoch=self.steps_per_epoch,
            loss=self.loss,
            seed=self.seed,
            mask=mask,
            callbacks=callbacks,
            first_step=first_step,
            last_step=last_step,
            hardware=self.hardware,
        )
