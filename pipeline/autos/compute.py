"""Where networks are trained and scored, and how many of them at a time."""

import os
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from autos.config import Config
from autos.errors import UserError

if TYPE_CHECKING:
    import torch


class Hardware(Config):
    """Where one network is trained; Lightning's Trainer gets these settings."""

    accelerator: str = "auto"
    """Lightning's name of the accelerator; "auto" takes a GPU if there is one."""
    devices: (
        Literal[1]
        | Annotated[list[Annotated[int, Field(ge=0, lt=1024)]], Field(min_length=1, max_length=1)]
    ) = 1
    """One device for each training, or a list with the index of one."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Lightning's name of the precision that networks are trained in."""

    @property
    def device(self) -> "torch.device":
        """The device where networks are scored, which is the one that the Trainer would take."""
        import torch  # Stages that handle no network do without torch.

        if self.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            return torch.device("cuda", 0 if self.devices == 1 else self.devices[0])
        return torch.device("cpu")


class Compute(Hardware):
    """The hardware, and how the units of a stage share it."""

    jobs: Literal["auto"] | Annotated[int, Field(gt=0, le=1024)] = "auto"
    """The number of worker processes; "auto" starts one per core, and 1 computes in the process
    itself."""

    @property
    def workers(self) -> int:
        """The number of worker processes, with "auto" resolved for this machine."""
        return len(os.sched_getaffinity(0)) if self.jobs == "auto" else self.jobs

    @property
    def hardware(self) -> Hardware:
        """The settings of the hardware alone."""
        return Hardware(**self.model_dump(exclude={"jobs"}))


def check_memory(what: str, size: int) -> None:
    """Check that something fits into the memory of this machine, before it is tried.

    Args:
        what: What needs the memory, for the message.
        size: Number of bytes that it needs.

    Raises:
        UserError: The machine has less memory.
    """
    has = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > has:
        raise UserError(
            f"{what}: {size / 1e9:,.1f} GB are needed, but this machine has {has / 1e9:,.1f} GB"
        )
