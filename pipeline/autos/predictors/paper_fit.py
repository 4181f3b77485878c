"""Least squares on in-memory tensors with Adam, as the paper trains its predictor."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autos.compute import Hardware
from autos.errors import UserError
from autos.predictors.config import PaperConfig
from autos.predictors.paper import evaluate
from autos.predictors.rows import Rows
from autos.training.trainer import lightning, quiet_lightning, quiet_trainer

EPOCH = 2**18
"""Number of rows drawn per epoch at most: more weights sharpen the rows, and ask for no more
steps."""


def fit_regression(
    network: nn.Module,
    rows: Rows,
    *,
    validation: Rows,
    config: PaperConfig,
    hardware: Hardware,
) -> dict[str, list[float]]:
    """Train `network` in place.

    Args:
        network: Maps scaled inputs [n, k] to scores [n]; it ends up on the CPU, in eval mode.
        rows: Rows to train on.
        validation: Rows to measure on after every epoch.
        config: How to train.
        hardware: Where to train.

    Returns:
        The mean squared error in each epoch, over weights and not over groups of them: "train_mse"
        on the rows as they are drawn, "validation_mse" on all rows after the epoch.

    Raises:
        UserError: The loss is not finite, or the trained network is constant.
    """
    trainer = quiet_trainer(hardware, max_epochs=config.epochs)
    batches = _Batches(rows, config, trainer.strategy.root_device)
    module = _Regression(network, batches, validation, config)
    with quiet_lightning(), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        trainer.fit(module, train_dataloaders=batches)
    network.cpu().eval()
    if module.predicted.std() == 0:
        raise UserError(
            f"the predictor gives every weight the same score: backbone {config.backbone!r} "
            "ends in a ReLU that can start dead; choose another seed or a lower lr"
        )
    return {"train_mse": module.train_mse, "validation_mse": module.validation_mse}


class _Batches:
    """Rows drawn with replacement, in proportion to the weights that they stand for.

    An epoch has as many rows as there are weights, but at most `EPOCH`.
    """

    def __init__(self, rows: Rows, config: PaperConfig, device: torch.device) -> None:
        self.rows = torch.cat([rows.inputs, rows.labels[:, None]], dim=1).to(device)
        self.until = rows.counts.double().cumsum(0)
        self.spread = rows.spread / rows.total
        drawn = min(rows.total, EPOCH)
        self.batch_size = min(config.batch_size, drawn)
        self.steps = drawn // self.batch_size
        self.generator = torch.Generator().manual_seed(config.seed)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.steps):
            at = torch.rand(self.batch_size, generator=self.generator, dtype=torch.float64)
            part = torch.searchsorted(self.until, at * self.until[-1], right=True)
            yield self.rows[part.clamp_(max=len(self.rows) - 1).to(self.rows.device)]


class _Regression(lightning.LightningModule):
    def __init__(
        self,
        network: nn.Module,
        batches: _Batches,
        validation: Rows,
        config: PaperConfig,
    ) -> None:
        super().__init__()
        self.network = network
        self.batches = batches
        self.validation = validation
        self.config = config
        self.train_mse: list[float] = []
        self.validation_mse: list[float] = []

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.config.lr)

    def on_train_epoch_start(self) -> None:
        self.loss_sum = torch.zeros((), device=self.device)

    def training_step(self, rows: Tensor) -> Tensor:
        loss = F.mse_loss(self.network(rows[:, :-1]), rows[:, -1])
        self.loss_sum += loss.detach()
        return loss

    def on_train_epoch_end(self) -> None:
        if not torch.isfinite(self.loss_sum):
            raise UserError(f"the predictor's loss is not finite: lower lr ({self.config.lr:g})")
        self.train_mse.append(float(self.loss_sum) / len(self.batches) + self.batches.spread)
        self.network.eval()
        self.predicted = evaluate(self.network, self.validation.inputs)
        self.validation_mse.append(self.validation.mean_squared_error(self.predicted))
        self.network.train()
