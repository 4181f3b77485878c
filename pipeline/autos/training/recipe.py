"""Settings of a training."""

import warnings
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from autos.config import Config, Count, one_of
from autos.images.augmentation import AUGMENTATIONS


class TrainConfig(Config):
    """A training recipe.

    Example:
        >>> recipe = TrainConfig(
        ...     epochs=10, batch_size=64, optimizer="sgd", lr=0.1, momentum=0.9, schedule="cosine"
        ... )
        >>> recipe.nesterov
        False
    """

    epochs: int = Field(gt=0, le=100_000)
    """Number of passes over the training images."""
    batch_size: Count
    """Number of images in a batch."""
    optimizer: Literal["sgd", "adam"]
    """Kind of optimizer."""
    lr: float = Field(gt=0, le=1e6)
    """Learning rate at the beginning."""
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Momentum of "sgd"."""
    nesterov: bool = False
    """Whether the momentum of "sgd" is Nesterov's."""
    weight_decay: float = Field(default=0.0, ge=0, le=1e6)
    """Factor of the weights that is added to their gradient."""
    schedule: Literal["multistep", "cosine"]
    """How the learning rate falls: "multistep" multiplies it by `gamma` after each epoch of
    `milestones`, "cosine" takes it to 0, step by step."""
    milestones: list[Count] = Field(default_factory=list)
    """Epochs after which the learning rate of "multistep" falls."""
    gamma: float = Field(default=0.1, gt=0, le=1)
    """Factor of the learning rate at a milestone."""
    augmentation: Annotated[str, one_of("augmentation", AUGMENTATIONS)] = "none"
    """How training images are varied."""

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.optimizer == "adam" and (self.momentum or self.nesterov):
            raise ValueError("momentum and nesterov belong to optimizer 'sgd'")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if self.schedule == "cosine" and self.milestones:
            raise ValueError("milestones belong to schedule 'multistep'")
        return self

    def optimizers(self, model: nn.Module, steps: int, first_step: int = 0) -> dict[str, Any]:
        """Make the optimizer and its learning-rate schedule, in Lightning's form.

        Args:
            model: The network whose parameters are trained.
            steps: Number of steps per epoch.
            first_step: The schedule goes on as if that many steps were done.
        """
        if self.optimizer == "adam":
            optimizer: torch.optim.Optimizer = torch.optim.Adam(
                model.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=True
            )
        else:
            optimizer = torch.optim.SGD(
                model.parameters(),
                lr=self.lr,
                momentum=self.momentum,
                nesterov=self.nesterov,
                weight_decay=self.weight_decay,
                fused=True,
            )
        if self.schedule == "cosine":
            schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, T_max=self.epochs * steps
            )
        else:
            schedule = torch.optim.lr_scheduler.MultiStepLR(
                optimizer, [epoch * steps for epoch in self.milestones], gamma=self.gamma
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Torch expects the optimizer to go first.
            for _ in range(first_step):
                schedule.step()
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
