"""Fits AutoS to surviving scores by ordinal regression.

With S the rounds that a weight survived and x its features at initialisation, the log-odds of
S >= r are a_r + b'x for every r (proportional odds; McCullagh, J. R. Stat. Soc. B 1980, eq. 2.5):
one vector b for all rounds and sources, an intercept for each round of each source.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from autos.config import Config, Name
from autos.irp.survival import chosen, read_survival
from autos.network.features import FEATURES, STEP, Feature
from autos.predictors.autos import AutoS
from autos.predictors.config import AutosConfig, PredictorsConfig
from autos.storage.zarr_store import store_digest
from autos.work.units import Result, Unit

MOST = 1_000_000
"""Number of weights of a source that are looked at; four coefficients and a few intercepts need no
more."""

RIDGE = 1e-4
"""Penalty that keeps b finite where a feature tells survivors apart without a fault."""


class AutosTraining(Config):
    """Settings of a unit that fits AutoS."""

    sources: list[Name] | Literal["all"]
    """Names of the source networks to learn from."""
    autos: AutosConfig
    """What AutoS learns from."""
    survival: Path
    """Store of the surviving scores."""


def train_autos(settings: AutosTraining) -> Result:
    """Fit AutoS; the result has no tensors, and under "about" the content of autos.json."""
    networks = chosen(read_survival(settings.survival), settings.sources)
    sources = {
        name: (
            torch.from_numpy(network.features),
            torch.from_numpy(network.survival.astype("int64")),
        )
        for name, network in networks.items()
    }
    about = {
        "coefficients": fit(sources, settings.autos.features),
        "step": STEP,
        "rounds": AutoS.rounds,
        "sources": {name: network.about["source"] for name, network in networks.items()},
    }
    return Result({}, {"about": about})


def unit(config: PredictorsConfig, survival: Path) -> Unit[AutosTraining]:
    """Name the unit that fits AutoS to the store of surviving scores."""
    settings = AutosTraining(sources=config.sources, autos=config.autos, survival=survival)
    inputs = {"survival": store_digest(survival)}
    return Unit("train_predictor/autos", train_autos, settings, inputs)


def fit(
    sources: Mapping[str, tuple[Tensor, Tensor]], names: Sequence[Feature] = FEATURES
) -> dict[Feature, float]:
    """Return the coefficients of the largest likelihood, by feature; all sources weigh the same.

    Args:
        sources: Features [n, 4] and surviving scores [n] by source.
        names: The features to learn from; the others count nothing.
    """
    columns = [FEATURES.index(name) for name in names]
    data = []
    generator = torch.Generator().manual_seed(0)
    for features, survival in sources.values():
        drawn = torch.arange(len(survival))
        if len(drawn) > MOST:
            drawn = torch.randperm(len(drawn), generator=generator)[:MOST]
        inputs, survived = features[drawn][:, columns], survival[drawn]
        thresholds = torch.arange(1, int(survived.max()) + 1)
        kept = (survived[:, None] >= thresholds).double()
        data.append(((inputs - inputs.mean(dim=0)).double(), kept))
    slope = torch.zeros(len(names), dtype=torch.float64, requires_grad=True)
    intercepts = [kept.mean(dim=0).logit(eps=1e-9).requires_grad_() for _, kept in data]
    optimizer = torch.optim.LBFGS([slope, *intercepts], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = RIDGE * slope.square().sum()
        for intercept, (inputs, kept) in zip(intercepts, data, strict=True):
            log_odds = (inputs @ slope)[:, None] + intercept
            total = total + F.binary_cross_entropy_with_logits(log_odds, kept) / len(data)
        total.backward()
        return total

    optimizer.step(loss)
    return dict(zip(names, slope.tolist(), strict=True))
