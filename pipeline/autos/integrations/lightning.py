"""A mask in the Trainer of Lightning."""

from typing import Any

from torch import nn

from autos.errors import extra
from autos.masks.attached import Attached
from autos.masks.mask import Mask

with extra("pipeline"):
    import lightning.pytorch as lightning


class MaskCallback(lightning.Callback):
    """Holds pruned weights at exactly zero during `fit`, in checkpoints, too.

    Args:
        mask: The mask.
        model: The network that it was found for: the LightningModule, or a network in it.
    """

    def __init__(self, mask: Mask, model: nn.Module) -> None:
        self.mask = mask
        self.model = model
        self._attached: Attached | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach the mask to the optimizers of the Trainer."""
        self._attached = self.mask.attach(self.model, *trainer.optimizers)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Detach it, also after a training that failed."""
        if self._attached is not None:
            self._attached.detach()
            self._attached = None
