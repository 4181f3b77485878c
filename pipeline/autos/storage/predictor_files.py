"""The JSON files of trained predictors; reports read them without torch, which takes seconds."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from autos.config import DISTINCT, Config
from autos.storage.records import Record

Input = Literal["weight", "gradient"]
"""What the paper's predictor may look at."""

Sources = dict[str, dict[str, Any]]
"""Settings of the networks that a predictor learned from, by name."""


class AutosFile(Record, extra="allow"):
    """The content of `autos.json`."""

    KIND: ClassVar = "AutoS"
    VERSION: ClassVar = 1
    coefficients: dict[str, float]
    """Coefficients by feature, 0 for one that is not named."""
    step: float = 0.0
    """Length of the gradient step behind some features."""
    rounds: int = 0
    """Number of rounds of pruning."""
    sources: Sources = Field(default_factory=dict)
    """What it was learned from."""


class PaperFile(Record, extra="allow"):
    """The content of `autos_paper.json`, which tells further settings and figures as well."""

    KIND: ClassVar = "paper's AutoS predictor"
    VERSION: ClassVar = 4
    backbone: str
    """Name of the network that predicts."""
    inputs: Annotated[list[Input], DISTINCT] = Field(min_length=1)
    """What the network looks at."""
    sources: Sources = Field(default_factory=dict)
    """What it was trained on."""


class Measured(Config, allow_inf_nan=True):
    """What was measured of the paper's predictor on a source's weights that were held out.

    Figures are NaN where there was nothing to measure.
    """

    held_out: int
    """Number of these weights."""
    mse: float
    """Mean squared error."""
    label_variance: float
    """Variance of the surviving scores."""
    spearman: dict[str, float]
    """Rank correlation with survival, by score."""
    densities: list[float]
    """Density after each round of pruning."""
    overlap: dict[str, list[float]]
    """Share of the survivors of each round that a score also keeps, by score."""
    joint_histogram: list[list[int]]
    """Numbers of weights by rounds survived and by bin of the prediction."""


class Map(Config, allow_inf_nan=True):
    """Predictions of the paper's predictor over its scaled inputs."""

    axis: list[float]
    """Values of an input."""
    scores: list[list[float]]
    """Predictions; rows are gradients and columns are weights."""


class PaperReport(Record, allow_inf_nan=True):
    """The content of `autos_paper_report.json`."""

    KIND: ClassVar = "report on the paper's AutoS predictor"
    VERSION: ClassVar = 1
    train_mse: list[float]
    """Training error of each epoch."""
    validation_mse: list[float]
    """Error of each epoch on the weights that were held out."""
    networks: dict[str, Measured]
    """Figures by source."""
    map: Map
    """Predictions to draw."""
