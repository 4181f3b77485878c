"""How a method may train: by the recipe that the found network will be trained by, too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from autos.compute import Hardware
from autos.errors import UserError
from autos.masks.mask import Mask
from autos.network.batches import Batches, Loss
from autos.training.callbacks import Callback
from autos.training.recipe import TrainConfig


@dataclass(frozen=True)
class Budget:
    """One full training, as often as a method asks for it; each one sees the same batches.

    Attributes:
        recipe: Recipe of a training from beginning to end.
        batches: The batches of one epoch.
        loss: Function of the model's output and a batch.
        seed: Seed of the order of the batches, of augmentation and of dropout.
        hardware: Where to train.
    """

    recipe: TrainConfig
    batches: Batches
    loss: Loss
    seed: int
    hardware: Hardware

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch.

        Raises:
            UserError: The batches have no length, or there are none.
        """
        try:
            steps = len(self.batches)  # type: ignore[arg-type]
        except TypeError:
            raise UserError(
                "a method that trains needs batches with a length: a list or a loader"
            ) from None
        if not steps:
            raise UserError("there are no batches to train on")
        return steps

    @property
    def steps(self) -> int:
        """Number of optimizer steps of the recipe."""
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
        """Train `model` in place, from one step of the schedule to another.

        Args:
            model: The network.
            mask: Pruned weights are zero from the first forward pass to the last; only with a
                mask, be it a dense one, do callbacks see weights.
            callbacks: They see and change what happens at each step.
            first_step: Learning rate and order of the batches go on as if that many steps were
                done.
            last_step: Step at which to stop; None is the end of the schedule.
            changes: Changes of the recipe, for example `lr=0.1`.

        Raises:
            UserError: The loss becomes NaN or infinite, or the recipe is not valid any more.
        """
        from autos.training.loop import train  # Lightning takes seconds to import.

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
