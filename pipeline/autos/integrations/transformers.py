"""A mask in the Trainer of Hugging Face's transformers."""

from typing import Any

from torch import nn

from autos.errors import extra
from autos.masks.attached import Attached
from autos.masks.mask import Mask

with extra("transformers"):
    from transformers import TrainerCallback


class MaskCallback(TrainerCallback):
    """Holds pruned weights at exactly zero during `train`, in checkpoints, too.

    Args:
        mask: The mask.
        model: The network that it was found for: that of the Trainer, or a network in it.
    """

    def __init__(self, mask: Mask, model: nn.Module) -> None:
        self.mask = mask
        self.model = model
        self._attached: Attached | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Attach the mask to the optimizer of the Trainer."""
        optimizer = given["optimizer"]
        # Accelerate wraps the optimizer, and what it wraps makes the steps.
        self._attached = self.mask.attach(self.model, getattr(optimizer, "optimizer", optimizer))

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Detach it."""
        if self._attached is not None:
            self._attached.detach()
            self._attached = None
