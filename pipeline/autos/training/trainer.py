"""Lightning, silenced: its Trainer, and the process left as it was."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any

from autos.compute import Hardware
from autos.errors import SettingError, brief, extra

NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"
"""Lightning sets this variable to 1, and then torch opens the GPU driver's library in every
optimizer step: on a machine without GPU that takes as long as the step of a small network."""

IGNORED = (
    ".*does not have many workers.*",  # Batches in memory need no workers.
    ".*treespec.*",
    "Found .* in eval mode at the start of training",  # A caller may have frozen some layers.
)
"""Warnings of Lightning that say nothing to a user of this library."""


@contextlib.contextmanager
def _kept(**environment: str) -> Iterator[None]:
    """Set environment variables inside the block; put them and warning filters back at its end."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


with _kept(**{NVML_CHECK: "0"}), extra("pipeline"):
    import lightning.pytorch as lightning
    from lightning.fabric.utilities.exceptions import MisconfigurationException


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning inside the block; afterwards the process is as it was before."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    with _kept(**{NVML_CHECK: "0"}):
        for message in IGNORED:
            warnings.filterwarnings("ignore", message=message)
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def quiet_trainer(hardware: Hardware, **options: Any) -> lightning.Trainer:
    """Make a Lightning Trainer without logger, checkpoints or progress bar.

    Raises:
        SettingError: Lightning does not know the accelerator, or there is none.
    """
    try:
        with quiet_lightning():
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
        raise SettingError(f"compute: {brief(error, 300)}") from None
