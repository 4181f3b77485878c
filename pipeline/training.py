"""The one training loop: any network, one recipe, pruned weights held at exactly zero."""

import itertools
import logging
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from pipeline.augmentation import AUGMENTATIONS
from pipeline.batches import Batch, Batches, Loss, cross_entropy, run, size
from pipeline.callbacks import Callback, Loop
from pipeline.compute import Hardware
from pipeline.cost import count
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
# A caller may have frozen some of the layers.
warnings.filterwarnings("ignore", message="Found .* in eval mode at the start of training")


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
    first_step: int = 0,
    hardware: Hardware | None = None,
) -> History:
    """Train `model` in place on the training images.

    Args:
        seed: of the order of the images, of augmentation and of dropout.
        mask: pruned weights are zero from the first forward pass to the last.
        first_step: learning rate and order of the images go on as if that many steps were done.

    Raises:
        UserError: the loss becomes NaN or infinite, or the hardware is not there.
    """
    hardware = hardware or Hardware()
    batches = ShuffledImages(images, config, seed=seed, device=hardware.device)
    validation: list[float] = []
    losses = train(
        model,
        batches,
        config,
        steps_per_epoch=len(batches),
        seed=seed,
        mask=mask or Mask.dense(model),
        first_step=first_step,
        hardware=hardware,
        on_epoch=lambda: validation.append(accuracy(model, images, images.validation)),
    )
    return History(losses, validation)


def train(
    model: nn.Module,
    batches: Batches,
    config: TrainConfig,
    *,
    steps_per_epoch: int,
    seed: int,
    hardware: Hardware,
    loss: Loss = cross_entropy,
    mask: Mask | None = None,
    callbacks: Sequence[Callback] = (),
    first_step: int = 0,
    last_step: int | None = None,
    on_epoch: Callable[[], None] = lambda: None,
) -> list[float]:
    """Train `model` in place on batches of any form; it ends up on the CPU.

    Args:
        batches: of one epoch, read once for each. If they have a method `set_epoch`, it is called
            with the epoch's number before they are read, as torch does with its samplers.
        loss: of the model's output and a batch.
        mask: pruned weights are zero from the first forward pass to the last. Without one nothing
            is, and callbacks see no weights: the model's may be parametrized.
        callbacks: see and change what happens at each step.
        first_step, last_step: the part of the schedule that is trained; None is its end.
        on_epoch: called at the end of every epoch.

    Returns:
        The mean loss of every epoch.

    Raises:
        UserError: the loss becomes NaN or infinite, or the hardware is not there.
    """
    if mask is not None:
        mask.check(model)
    steps = config.epochs * steps_per_epoch
    last = steps if last_step is None else min(last_step, steps)
    if last <= first_step:
        return []
    # Lightning's own count of epochs knows nothing of a first step.
    trainer = quiet_trainer(hardware, max_epochs=-1, max_steps=last - first_step)
    module = _Module(model, config, loss, mask, callbacks, first_step, steps_per_epoch, on_epoch)
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # Sparse weights decay into denormals, which are slow; zero is as good.
    torch.set_flush_denormal(True)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            trainer.fit(module, _Resumed(batches, first_step, steps_per_epoch))
    finally:
        torch.set_flush_denormal(False)  # it holds for the process, whatever comes next
    model.cpu()
    return module.losses


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


class ShuffledImages:
    """The training images in memory, in a new order every epoch; no per-image work in Python."""

    def __init__(
        self, images: ImageSet, config: TrainConfig, *, seed: int, device: torch.device
    ) -> None:
        self.images = images
        self.pixels = images.train.images.to(device)
        self.labels = images.train.labels.to(device)
        self.augment = AUGMENTATIONS[config.augmentation]
        self.batch_size = config.batch_size
        self.seed = seed
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return -(-len(self.labels) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Epoch 0 begins a training: all have the same orders."""
        if epoch == 0:
            self.generator.manual_seed(self.seed)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.labels), generator=self.generator)
        for part in order.to(self.labels.device).split(self.batch_size):
            pixels = self.augment(self.pixels[part], self.generator)
            yield self.images.normalize(pixels), self.labels[part]


class _Resumed:
    """Epochs of batches without the first few of the first one."""

    def __init__(self, batches: Batches, first_step: int, steps_per_epoch: int) -> None:
        self.batches = batches
        self.skipped, self.begun = divmod(first_step, steps_per_epoch)
        self.steps_per_epoch = steps_per_epoch
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        while self.epoch < self.skipped:
            for _ in self._next_epoch():  # which has the order of the epochs to come move on
                pass
        begun = self.begun if self.epoch == self.skipped else 0
        yield from itertools.islice(self._next_epoch(), begun, None)

    def _next_epoch(self) -> Iterator[Batch]:
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(self.epoch)
        self.epoch += 1
        return iter(self.batches)


class _Module(lightning.LightningModule):
    """Training by a recipe, with the mask put back after every step."""

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        loss: Loss,
        mask: Mask | None,
        callbacks: Sequence[Callback],
        first_step: int,
        steps_per_epoch: int,
        on_epoch: Callable[[], None],
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.loss = loss
        self.mask = mask
        self.callbacks = callbacks
        self.first_step = first_step
        self.steps_per_epoch = steps_per_epoch
        self.on_epoch = on_epoch
        self.losses: list[float] = []

    def configure_optimizers(self) -> Any:
        return self.config.optimizers(
            self.model, steps=self.steps_per_epoch, first_step=self.first_step
        )

    def on_fit_start(self) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        weights = {} if self.mask is None else prunable(self.model)
        keep = {
            name: torch.empty_like(weights[name]).copy_(keep)
            for name, keep in (self.mask.keep.items() if self.mask else ())
        }
        steps = self.config.epochs * self.steps_per_epoch
        self.loop = Loop(
            self.model, optimizer, weights, keep, self.first_step, steps, self.steps_per_epoch
        )
        self.weights, self.keep = [weights[name] for name in keep], list(keep.values())
        for callback in self.callbacks:
            callback.on_start(self.loop)
        self._zero_pruned()

    @torch.no_grad()
    def _zero_pruned(self) -> None:
        if self.keep:
            torch._foreach_mul_(self.weights, self.keep)

    def on_train_epoch_start(self) -> None:
        self.loss_sum = torch.zeros((), device=self.device)
        self.samples = 0

    def training_step(self, batch: Batch) -> Tensor:
        loss = self.loss(run(self.model, batch), batch)
        samples = size(batch)
        self.loss_sum += loss.detach() * samples
        self.samples += samples
        count(backward=samples)
        for callback in self.callbacks:
            loss = loss + callback.penalty(self.loop)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for callback in self.callbacks:
            callback.before_step(self.loop)

    def on_train_batch_end(self, *_: Any) -> None:
        self.loop.step += 1
        for callback in self.callbacks:
            callback.after_step(self.loop)
        self._zero_pruned()
        self.trainer.should_stop = self.loop.stop

    def on_train_epoch_end(self) -> None:
        loss = float(self.loss_sum) / self.samples
        if not math.isfinite(loss):
            raise UserError(
                f"training loss is {loss} in epoch {len(self.losses) + 1}: "
                f"lower the learning rate (lr is {self.config.lr:g})"
            )
        self.losses.append(loss)
        self.on_epoch()
