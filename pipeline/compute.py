"""Section `compute` of params.yaml: where networks are trained, and how many at a time."""

import os
from typing import Annotated, Literal

from pydantic import Field

from pipeline.config import Config


class Hardware(Config):
    """Where one network is trained; handed to Lightning's Trainer."""

    accelerator: str = "auto"
    devices: Literal[1] | Annotated[list[int], Field(min_length=1, max_length=1)] = 1
    """One device per training, or the index of one; more trainings run side by side instead."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


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
