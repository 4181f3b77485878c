"""The one training loop: any network, one recipe, pruned weights held at exactly zero."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autos.compute import Hardware
from autos.errors import UserError
from autos.images.image_set import ImageSet, Split
from autos.images.loaders import InOrder, ShuffledImages
from autos.masks.mask import Mask
from autos.network.batches import (
    Batch,
    Batches,
    Loss,
    as_loss,
    cross_entropy,
    logits,
    prepared,
    read,
    run,
    seeded,
    size,
)
from autos.network.cost import count
from autos.network.initialize import LAYOUT
from autos.network.prunable import prunable
from autos.training.callbacks import Callback, Loop
from autos.training.recipe import TrainConfig
from autos.training.trainer import lightning, quiet_lightning, quiet_trainer


@dataclass(frozen=True)
class History:
    """What is seen of a training.

    Attributes:
        train_loss: Mean training loss in each epoch.
        validation_accuracy: Fraction of the validation images that is classified correctly after
            each epoch.
    """

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
        model: The network; it ends up on the CPU.
        images: The image set, of which the validation images are looked at after each epoch.
        config: The recipe.
        seed: Seed of the order of the images, of augmentation and of dropout.
        mask: Pruned weights are zero from the first forward pass to the last.
        first_step: Learning rate and order of the images go on as if that many steps were done.
        hardware: Where to train.

    Raises:
        UserError: The loss becomes NaN or infinite, or the hardware is not there.
    """
    hardware = hardware or Hardware()
    batches = ShuffledImages(
        images,
        batch_size=config.batch_size,
        augmentation=config.augmentation,
        seed=seed,
        device=hardware.device,
    )
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
    """Train `model` in place on batches of any form.

    Args:
        model: The network; it ends up on the CPU.
        batches: The batches of one epoch, read once for each. If they have a method `set_epoch`,
            it is called with the epoch's number before they are read, as torch does with its
            samplers.
        config: The recipe; batches have their size and augmentation already.
        steps_per_epoch: Number of batches in an epoch.
        seed: Seed of dropout and whatever else the model draws.
        hardware: Where to train.
        loss: Function of the model's output and a batch, or of logits and labels.
        mask: Pruned weights are zero from the first forward pass to the last. Without a mask none
            is pruned, and callbacks see no weights: the model's may be parametrized.
        callbacks: They see and change what happens at each step.
        first_step: Step of the schedule at which the training begins.
        last_step: Step of the schedule at which the training ends; None is the schedule's end.
        on_epoch: Called at the end of every epoch.

    Returns:
        The mean loss of every epoch.

    Raises:
        UserError: The loss becomes NaN or infinite, the hardware is not there, a batch is of the
            wrong form, or there are fewer of them than `steps_per_epoch`.
    """
    if mask is not None:
        mask.check(model)
    steps = config.epochs * steps_per_epoch
    last = steps if last_step is None else min(last_step, steps)
    if last <= first_step:
        return []
    # Lightning's own count of epochs knows nothing of a first step.
    trainer = quiet_trainer(hardware, max_epochs=-1, max_steps=last - first_step)
    module = _Module(
        model, config, as_loss(loss), mask, callbacks, first_step, steps_per_epoch, on_epoch
    )
    if memory_format := getattr(model, LAYOUT, None):
        module.to(memory_format=memory_format)  # type: ignore[call-overload]
    # Sparse weights decay into denormals, which are slow; zero is as good.
    torch.set_flush_denormal(True)
    try:
        with quiet_lightning(), torch.random.fork_rng(), seeded(batches, seed):
            torch.manual_seed(seed)
            trainer.fit(module, _Resumed(batches, first_step, steps_per_epoch))
    finally:
        torch.set_flush_denormal(False)  # It holds for the whole process.
    model.cpu()
    return module.losses


@torch.no_grad()
def accuracy(model: nn.Module, images: ImageSet, split: Split) -> float:
    """Return the fraction of `split` that the model, in eval mode, classifies correctly."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    correct = 0
    for inputs, labels in InOrder(images, split, device):
        correct += int((logits(model(inputs)).argmax(dim=1) == labels).sum())
    model.train(training)
    return correct / len(split)


class _Resumed:
    """Epochs of batches that begin in the middle of the first one."""

    def __init__(self, batches: Batches, first_step: int, steps_per_epoch: int) -> None:
        self.batches = batches
        self.skipped, self.begun = divmod(first_step, steps_per_epoch)
        self.steps_per_epoch = steps_per_epoch
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        while self.epoch < self.skipped:
            for _ in self._next_epoch():  # Reading moves the order of later epochs on.
                pass
        begun = self.begun if self.epoch == self.skipped else 0
        yield from itertools.islice(self._next_epoch(), begun, None)

    def _next_epoch(self) -> Iterator[Batch]:
        if hasattr(self.batches, "set_epoch"):
            self.batches.set_epoch(self.epoch)
        self.epoch += 1
        given = 0
        for batch in read(self.batches):
            yield batch
            given += 1
        if given < self.steps_per_epoch:
            raise UserError(
                f"the batches have a length of {self.steps_per_epoch}, but epoch {self.epoch} gave "
                f"{given}: give a list, or a loader whose length is right"
            )


class _Module(lightning.LightningModule):
    """A training by a recipe, in which the mask is put back after every step."""

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

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        floats = (p.dtype for p in self.model.parameters() if p.is_floating_point())
        return prepared(batch, device, next(floats, torch.get_default_dtype()))

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
