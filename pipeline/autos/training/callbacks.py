"""What can take part in a training: it sees every step, and may change mask and gradients.

This is a protocol of our own beside Lightning's callbacks, since methods that train have to be
named, described and imported where Lightning is not installed, add terms to the loss, and count
steps from the beginning of a schedule that the training may enter in the middle.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class Loop:
    """A training at work.

    Attributes:
        model: The network in training.
        optimizer: The optimizer of all its parameters.
        weights: The prunable weights by name.
        keep: By name, 1 for weights that are kept and 0 for the others, in the precision of the
            weights. To change the mask, change these tensors in place: after every step, and
            before the first, pruned weights are set to 0.
        step: Number of optimizer steps that are done, since the beginning of the schedule.
        steps: Number of steps of the whole schedule.
        steps_per_epoch: Number of batches in an epoch.
        stop: Whether this step is to be the last one; set it to True to end the training.
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
        """Act before the first forward pass."""

    def penalty(self, loop: Loop) -> Tensor | float:
        """Return a term that is added to the loss of a step."""
        return 0.0

    def before_step(self, loop: Loop) -> None:
        """Act before the optimizer does.

        Gradients are there, also of pruned weights; a parameter whose `grad` is set to None is
        not updated.
        """

    def after_step(self, loop: Loop) -> None:
        """Act after the optimizer; `step` counts this step, and pruned weights are not yet 0."""
