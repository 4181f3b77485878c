"""What can take part in a training: it sees every step, and may change mask and gradients."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Loop:
    """A training at work.

    Attributes:
        model: in training.
        optimizer: of all its parameters.
        weights: the prunable ones by name.
        keep: 1 for those that are kept and 0 for the others, in the precision of the weights. To
            change the mask, change these tensors in place: after every step, and before the
            first, pruned weights are set to 0.
        step: optimizer steps that are done, since the beginning of the schedule.
        steps: of the whole schedule.
        steps_per_epoch: batches in an epoch.
        stop: set it to True to have this step be the last one.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    weights: dict[str, Tensor]
    keep: dict[str, Tensor]
    step: int
    steps: int
    steps_per_epoch: int
    stop: bool = False


class Callback:
    """Takes part in a training; by default it does nothing."""

    def on_start(self, loop: Loop) -> None:
        """Before the first forward pass."""

    def penalty(self, loop: Loop) -> Tensor | float:
        """A term that is added to the loss of a step."""
        return 0.0

    def before_step(self, loop: Loop) -> None:
        """Gradients are there, also of pruned weights; a parameter whose `grad` is set to None
        is not updated."""

    def after_step(self, loop: Loop) -> None:
        """Parameters are updated and `step` counts this one; pruned weights are not yet 0."""
