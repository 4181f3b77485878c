"""Settings of the predictors' training."""

from typing import Annotated, Literal

from pydantic import Field

from autos.config import DISTINCT, Config, Count, Name, Seed, one_of
from autos.network.features import FEATURES, Feature
from autos.predictors.backbones import BACKBONES
from autos.storage.predictor_files import Input


class AutosConfig(Config):
    """What AutoS learns from."""

    features: Annotated[list[Feature], DISTINCT] = Field(list(FEATURES), min_length=1)
    """Names of the features that get a coefficient."""


class PaperConfig(Config):
    """How the paper's predictor is trained; the defaults are the paper's (Table 7 and B.2)."""

    backbone: Annotated[str, one_of("backbone", BACKBONES)] = "resnet18"
    """Name of the network that predicts."""
    inputs: Annotated[list[Input], DISTINCT] = Field(["weight", "gradient"], min_length=1)
    """What the network looks at."""
    holdout: float = Field(default=0.1, gt=0, lt=1)
    """Fraction of every source's weights, drawn at random, that is kept out of training."""
    epochs: Count = 10
    """Number of epochs."""
    batch_size: int = Field(default=1024, gt=1, le=10**9)
    """Number of weights in a batch."""
    lr: float = Field(default=0.01, gt=0)
    """Learning rate of Adam."""
    seed: Seed = 0
    """Seed of the first weights, of the holdout, and of what is drawn in training."""


class PredictorsConfig(Config):
    """Which sources the predictors learn from, and how each of them does."""

    sources: list[Name] | Literal["all"] = "all"
    """Source networks whose surviving scores are merged."""
    autos: AutosConfig = AutosConfig()
    """Settings of AutoS."""
    autos_paper: PaperConfig = PaperConfig()
    """Settings of the paper's predictor."""
