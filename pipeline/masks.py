"""Masks over the prunable weights of a network, and the one rule that makes a mask from scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.tensors import read_tensors, write_tensors

Scores = Mapping[str, Tensor]
"""Score of every prunable weight by parameter name; higher means keep."""

PRUNABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def prunable(model: nn.Module) -> dict[str, Tensor]:
    """Weights (parameters) of linear and convolution layers by name, in module order.

    Biases and normalisation are never pruned. A weight that several layers share counts once.
    """
    weights: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, PRUNABLE) and not any(module.weight is w for w in weights.values()):
            weights[f"{name}.weight" if name else "weight"] = module.weight
    return weights


@dataclass(frozen=True)
class Mask:
    """Which weights are kept: one boolean tensor per prunable weight, by parameter name."""

    keep: Mapping[str, Tensor]

    @classmethod
    def dense(cls, model: nn.Module) -> Self:
        """The mask that keeps everything."""
        return cls({n: torch.ones(w.shape, dtype=torch.bool) for n, w in prunable(model).items()})

    @property
    def total(self) -> int:
        return sum(keep.numel() for keep in self.keep.values())

    @property
    def kept(self) -> int:
        return sum(int(keep.sum()) for keep in self.keep.values())

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that is kept."""
        return self.kept / self.total

    def layer_densities(self) -> dict[str, float]:
        return {name: float(keep.float().mean()) for name, keep in self.keep.items()}

    def empty_layers(self) -> list[str]:
        """Names of the weights of which nothing is kept: through them no signal passes."""
        return [name for name, keep in self.keep.items() if not keep.any()]

    def check(self, model: nn.Module) -> None:
        """Raises UserError: the model's prunable weights differ in name or shape."""
        want = {name: tuple(w.shape) for name, w in prunable(model).items()}
        have = {name: tuple(keep.shape) for name, keep in self.keep.items()}
        if want != have:
            name = next(n for n in {**want, **have} if want.get(n) != have.get(n))
            raise UserError(
                f"mask does not fit the model: {name} is {have.get(name, 'absent')} in the mask "
                f"and {want.get(name, 'absent')} in the model"
            )

    @torch.no_grad()
    def apply_(self, model: nn.Module) -> None:
        """Set the pruned weights of `model` to exactly zero, in place."""
        weights = prunable(model)
        for name, keep in self.keep.items():
            weights[name].mul_(keep.to(weights[name].device))

    def save(self, path: Path, about: Mapping[str, Any] | None = None) -> None:
        write_tensors(path, self.keep, kind="mask", version=1, about=about or {})

    @classmethod
    def load(cls, path: Path) -> tuple[Self, dict[str, Any]]:
        """Return the mask and the description it was saved with."""
        keep, about = read_tensors(path, kind="mask", version=1)
        return cls(keep), about


def keep_top(scores: Scores, density: float, within: Mask) -> Mask:
    """Keep exactly round(density * total) weights: those with the highest scores.

    Only weights that `within` keeps are candidates, so iterated masks are nested. Among equal
    scores at the threshold the first in parameter order, then in memory order, are kept.

    Raises:
        UserError: a score is NaN, or the density keeps no weight or more than `within` has.
    """
    for name, score in scores.items():
        if score.isnan().any():
            raise UserError(
                f"the score of {name} is NaN: the loss or its gradient overflows at these weights"
            )
    count = round(density * within.total)
    if not 0 < count <= within.kept:
        raise UserError(
            f"density {density:g} keeps {count} of {within.total} weights; "
            f"between 1 and {within.kept} can be kept here"
        )
    survives = torch.cat([keep.flatten() for keep in within.keep.values()]).numpy()
    flat = torch.cat([scores[name].detach().cpu().flatten() for name in within.keep]).numpy()
    candidates = flat[survives]
    threshold = np.partition(candidates, len(candidates) - count)[len(candidates) - count]
    chosen = candidates > threshold
    ties = np.flatnonzero(candidates == threshold)
    chosen[ties[: count - np.count_nonzero(chosen)]] = True
    kept = np.zeros_like(survives)
    kept[survives] = chosen
    pieces = torch.from_numpy(kept).split([keep.numel() for keep in within.keep.values()])
    return Mask(
        {
            name: piece.view(keep.shape)
            for (name, keep), piece in zip(within.keep.items(), pieces, strict=True)
        }
    )
