"""Settings of a training."""

import warnings
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from pipeline.augmentation import AUGMENTATIONS
from pipeline.config import Config, one_of


class TrainConfig(Config):
    """A training recipe."""

    epochs: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    optimizer: Literal["sgd", "adam"]
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    nesterov: bool = False
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["multistep", "cosine"]
    """Multistep: lr times `gamma` after each epoch of `milestones`; cosine: to 0, every step."""
    milestones: list[int] = Field(default_factory=list)
    gamma: float = Field(default=0.1, gt=0, le=1)
    augmentation: Annotated[str, one_of("augmentation", AUGMENTATIONS)] = "none"

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if self.optimizer == "adam" and (self.momentum or self.nesterov):
            raise ValueError("momentum and nesterov belong to optimizer 'sgd'")
        if self.schedule == "cosine" and self.milestones:
            raise ValueError("milestones belong to schedule 'multistep'")
        return self

    def optimizers(self, model: nn.Module, steps: int, first_step: int = 0) -> dict[str, Any]:
        """Optimizer and learning-rate schedule in Lightning's form.

        Args:
            steps: per epoch.
            first_step: the schedule goes on as if that many steps were done.
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
            warnings.simplefilter("ignore")  # torch expects the optimizer to go first
            for _ in range(first_step):
                schedule.step()
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
