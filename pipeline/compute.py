"""Section `compute` of params.yaml: where networks are trained, and how many at a time."""

import os
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.config import Config

if TYPE_CHECKING:
    import torch


class Hardware(Config):
    """Where one network is trained; handed to Lightning's Trainer."""

    accelerator: str = "auto"
    devices: Literal[1] | Annotated[list[int], Field(min_length=1, max_length=1)] = 1
    """One device per training, or the index of one; more trainings run side by side instead."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"

    @property
    def device(self) -> "torch.device":
        """Where networks are scored, outside Lightning: the GPU that the Trainer would take."""
        import torch  # only when a network is at hand: light stages do without

        if self.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            return torch.device("cuda", 0 if self.devices == 1 else self.devices[0])
        return torch.device("cpu")


class Compute(Hardware):
    """Hardware, and how the cells of a stage share it."""

    jobs: Literal["auto"] | Annotated[int, Field(gt=0)] = "auto"
    """Worker processes; "auto" is one per core; 1 computes in the stage's own process."""

    @property
    def workers(self) -> int:
        return len(os.sched_getaffinity(0)) if self.jobs == "auto" else self.jobs

    @property
    def hardware(self) -> Hardware:
        return Hardware(**self.model_dump(exclude={"jobs"}))
