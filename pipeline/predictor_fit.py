"""Least squares on in-memory tensors with Adam, as the paper trains its predictor."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as lightning
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.compute import Hardware
from pipeline.errors import UserError
from pipeline.predictor_training import PredictorConfig
from pipeline.training import quiet_trainer


def fit_regression(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    validation: tuple[Tensor, Tensor],
    config: PredictorConfig,
    hardware: Hardware,
) -> dict[str, list[float]]:
    """Train `network` in place on inputs [n, k] and labels [n]; return the MSE per epoch."""
    trainer = quiet_trainer(hardware, max_epochs=config.epochs)
    batches = _Batches(inputs, labels, config, trainer.strategy.root_device)
    module = _Regression(network, batches, validation, config)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        trainer.fit(module, train_dataloaders=batches)
    network.cpu().eval()
    with torch.no_grad():
        if network(validation[0][:8192]).std() == 0:
            raise UserError(
                f"the predictor gives every weight the same score: backbone {config.backbone!r} "
                "ends in a ReLU that can start dead; choose another seed or a lower lr"
            )
    return {"train_mse": module.train_mse, "validation_mse": module.validation_mse}


class _Batches:
    """Rows in a new order every epoch; the incomplete last batch is left out."""

    def __init__(
        self, inputs: Tensor, labels: Tensor, config: PredictorConfig, device: torch.device
    ) -> None:
        self.rows = torch.cat([inputs, labels[:, None]], dim=1).to(device)
        self.batch_size = min(config.batch_size, len(labels))
        self.generator = torch.Generator().manual_seed(config.seed)

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size

    def __iter__(self) -> Iterator[Tensor]:
        order = torch.randperm(len(self.rows), generator=self.generator).to(self.rows.device)
        for part in order[: len(self) * self.batch_size].split(self.batch_size):
            yield self.rows[part]


class _Regression(lightning.LightningModule):
    def __init__(
        self,
        network: nn.Module,
        batches: _Batches,
        validation: tuple[Tensor, Tensor],
        config: PredictorConfig,
    ) -> None:
        super().__init__()
        self.network = network
        self.steps = len(batches)
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

    @torch.no_grad()
    def on_train_epoch_end(self) -> None:
        if not torch.isfinite(self.loss_sum):
            raise UserError(f"the predictor's loss is not finite: lower lr ({self.config.lr:g})")
        self.train_mse.append(float(self.loss_sum) / self.steps)
        self.network.eval()
        inputs, labels = self.validation
        error = sum(
            F.mse_loss(self.network(x.to(self.device)), y.to(self.device), reduction="sum").item()
            for x, y in zip(inputs.split(8192), labels.split(8192), strict=True)
        )
        self.validation_mse.append(error / len(labels))
        self.network.train()
