"""The one training loop: any network, one recipe, pruned weights held at exactly zero."""

import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.augmentation import AUGMENTATIONS
from pipeline.compute import Hardware
from pipeline.errors import UserError
from pipeline.images import ImageSet, Split
from pipeline.masks import Mask
from pipeline.prunable import prunable
from pipeline.recipes import TrainConfig

EVALUATION_BATCH = 500

# Lightning sets this to 1, and then torch opens the GPU driver's library in every optimiser step:
# on a machine without GPU that takes as long as the step of a small network.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
# Lightning advises DataLoader workers, which in-memory batches do not need.
warnings.filterwarnings("ignore", message=".*does not have many workers.*")
warnings.filterwarnings("ignore", message=".*treespec.*")


@dataclass(frozen=True)
class History:
    """Per epoch: mean training loss, and accuracy on the validation images."""

    train_loss: list[float]
    validation_accuracy: list[float]


def fit(
    model: nn.Module,
    images: ImageSet,
    config: TrainConfig,
    *,
    seed: int,
    mask: Mask | None = None,
    hardware: Hardware | None = None,
) -> History:
    """Train `model` in place on the training images.

    Args:
        seed: of the order of the images, of augmentation and of dropout.
        mask: pruned weights are zero from the first forward pass to the last.

    Raises:
        UserError: the loss becomes NaN or infinite, or the hardware is not there.
    """
    trainer = quiet_trainer(hardware or Hardware(), max_epochs=config.epochs)
    mask = mask or Mask.dense(model)
    mask.check(model)
    batches = _Batches(images, config, seed=seed, device=trainer.strategy.root_device)
    module = _Classifier(model, batches, config, mask)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Sparse weights decay into denormals, which are slow; zero is as good.
    torch.set_flush_denormal(True)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            trainer.fit(module, train_dataloaders=batches)
    finally:
        torch.set_flush_denormal(False)  # it holds for the process, whatever comes next
    model.cpu()
    return History(module.train_loss, module.validation_accuracy)


@torch.no_grad()
def accuracy(model: nn.Module, images: ImageSet, split: Split) -> float:
    """Fraction of `split` that the model, in eval mode, classifies correctly."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    correct = 0
    for part, labels in zip(
        split.images.split(EVALUATION_BATCH), split.labels.split(EVALUATION_BATCH), strict=True
    ):
        predicted = model(images.normalize(part.to(device))).argmax(dim=1)
        correct += int((predicted == labels.to(device)).sum())
    model.train(training)
    return correct / len(split)


def quiet_trainer(hardware: Hardware, **options: Any) -> lightning.Trainer:
    """A Lightning Trainer without logger, checkpoints or progress bar.

    Raises:
        UserError: Lightning does not know the accelerator, or there is none.
    """
    try:
        return lightning.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            precision=hardware.precision,
            deterministic="warn",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        problem = " ".join(str(error).split())
        raise UserError(f"params.yaml: compute: {problem}") from None


class _Batches:
    """The training images in memory, in a new order every epoch; no per-image work in Python."""

    def __init__(
        self, images: ImageSet, config: TrainConfig, *, seed: int, device: torch.device
    ) -> None:
        self.images = images
        self.pixels = images.train.images.to(device)
        self.labels = images.train.labels.to(device)
        self.augment = AUGMENTATIONS[config.augmentation]
        self.batch_size = config.batch_size
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.labels), generator=self.generator)
        for part in order.to(self.labels.device).split(self.batch_size):
            pixels = self.augment(self.pixels[part], self.generator)
            yield self.images.normalize(pixels), self.labels[part]


class _Classifier(lightning.LightningModule):
    """Cross-entropy training, with the mask put back after every step."""

    def __init__(
        self, model: nn.Module, batches: _Batches, config: TrainConfig, mask: Mask
    ) -> None:
        super().__init__()
        self.model = model
        self.images = batches.images
        self.steps = len(batches)
        self.config = config
        self.mask = mask
        self.train_loss: list[float] = []
        self.validation_accuracy: list[float] = []

    def configure_optimizers(self) -> Any:
        return self.config.optimizers(self.model, steps=self.steps)

    def on_fit_start(self) -> None:
        weights = prunable(self.model)
        self.weights = [weights[name] for name in self.mask.keep]
        self.keep = [
            torch.empty_like(weight).copy_(keep)
            for weight, keep in zip(self.weights, self.mask.keep.values(), strict=True)
        ]
        self._zero_pruned()

    @torch.no_grad()
    def _zero_pruned(self) -> None:
        torch._foreach_mul_(self.weights, self.keep)

    def on_train_epoch_start(self) -> None:
        self.loss_sum = torch.zeros((), device=self.device)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = batch
        loss = F.cross_entropy(self.model(inputs), labels)
        self.loss_sum += loss.detach() * len(labels)
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        self._zero_pruned()

    def on_train_epoch_end(self) -> None:
        loss = float(self.loss_sum) / len(self.images.train)
        if not torch.isfinite(self.loss_sum):
            raise UserError(
                f"training loss is {loss} in epoch {self.current_epoch + 1}: "
                f"lower the learning rate (lr is {self.config.lr:g})"
            )
        self.train_loss.append(loss)
        self.validation_accuracy.append(accuracy(self.model, self.images, self.images.validation))
