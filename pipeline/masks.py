"""Masks over the prunable weights of a network, and what can be done with one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from pipeline.errors import UserError
from pipeline.prunable import places, prunable, slots, unwrap
from pipeline.tensors import read_tensors, write_tensors

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By the bytes of a value."""


class Bits(Mapping[str, Tensor]):
    """Boolean tensors by name, eight values to a byte; reading one unpacks a copy, on the CPU."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.packed = {
            name: np.packbits(tensor.detach().cpu().numpy()) for name, tensor in tensors.items()
        }

    @classmethod
    def full(cls, shapes: Mapping[str, torch.Size], value: bool) -> Self:
        """All true or all false, made without unpacking."""
        bits = cls({})
        bits.shapes = dict(shapes)
        bits.packed = {
            name: np.full(-(-shape.numel() // 8), 255 if value else 0, np.uint8)
            for name, shape in shapes.items()
        }
        return bits

    def __getitem__(self, name: str) -> Tensor:
        return self.piece(name, 0, self.shapes[name].numel()).view(self.shapes[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Values [stop - start] of the flattened tensor; `start` is a multiple of 8."""
        packed = self.packed[name][start // 8 : -(-stop // 8)]
        return torch.from_numpy(np.unpackbits(packed, count=stop - start).view(np.bool_))

    def set_piece(self, name: str, start: int, values: Tensor) -> None:
        """Overwrite from `start`, a multiple of 8; a piece that ends inside a byte is the last."""
        packed = np.packbits(values.numpy())
        self.packed[name][start // 8 : start // 8 + len(packed)] = packed


@dataclass(frozen=True)
class Mask:
    """Which weights are kept: one boolean tensor per prunable weight, by parameter name."""

    keep: Mapping[str, Tensor]

    @classmethod
    def dense(cls, model: nn.Module) -> Self:
        """The mask that keeps everything."""
        return cls(Bits.full({name: w.shape for name, w in prunable(model).items()}, True))

    @property
    def total(self) -> int:
        return sum(keep.numel() for keep in self.keep.values())

    @property
    def kept(self) -> int:
        return sum(int(keep.count_nonzero()) for keep in self.keep.values())

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that is kept."""
        return self.kept / self.total

    def layer_densities(self) -> dict[str, float]:
        return {name: int(keep.count_nonzero()) / keep.numel() for name, keep in self.keep.items()}

    def empty_layers(self) -> list[str]:
        """Names of the weights of which nothing is kept: through them no signal passes."""
        return [name for name, keep in self.keep.items() if not keep.any()]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        if isinstance(self.keep, Bits):  # need not be unpacked for this
            return {name: tuple(shape) for name, shape in self.keep.shapes.items()}
        return {name: tuple(keep.shape) for name, keep in self.keep.items()}

    def check(self, model: nn.Module) -> dict[str, Tensor]:
        """The model's prunable weights. Raises UserError: they differ in name or shape."""
        weights = prunable(model)
        want = {name: tuple(weight.shape) for name, weight in weights.items()}
        have = self.shapes
        if want != have:
            name = next(n for n in {**want, **have} if want.get(n) != have.get(n))
            raise UserError(
                f"mask does not fit the model: {name} is {have.get(name, 'absent')} in the mask "
                f"and {want.get(name, 'absent')} in the model"
            )
        return weights

    @torch.no_grad()
    def apply_(self, model: nn.Module) -> None:
        """Set the pruned weights of `model` to exactly zero, in place.

        Raises:
            UserError: the mask does not fit the model.
        """
        weights = self.check(model)
        for name, keep in self.keep.items():
            # A product of the bits: NaN and infinity times 0 are NaN, and filling is slow.
            bits = weights[name].view(INTEGERS[weights[name].element_size()])
            bits.mul_(keep.to(bits))

    def parametrize(self, model: nn.Module) -> None:
        """Hold the pruned weights at zero during any training, by torch parametrizations.

        `torch.nn.utils.parametrize.remove_parametrizations` on each layer makes them plain again.
        A layer that shares its weight gets the same mask, an embedding too.

        Raises:
            UserError: the mask does not fit the model.
        """
        inner = unwrap(model)
        for name, weight in self.check(model).items():
            masked = Masked(self.keep[name].to(weight.device))
            for module, attribute in list(places(inner, weight)):
                parametrize.register_parametrization(module, attribute, masked)

    def to_torch_prune(self, model: nn.Module) -> None:
        """Put `model` into the form of `torch.nn.utils.prune`, as its `custom_from_mask` does.

        Raises:
            UserError: the mask does not fit the model.
        """
        inner = unwrap(model)
        for name, weight in self.check(model).items():
            for module, attribute in list(places(inner, weight)):
                keep = self.keep[name].to(weight.device)
                torch_prune.custom_from_mask(module, attribute, keep)

    @classmethod
    def from_torch_prune(cls, model: nn.Module) -> Self:
        """The mask of a model that `torch.nn.utils.prune` has pruned, in any way.

        Of a layer that it has not pruned everything is kept.

        Raises:
            UserError: layers that share a weight do not share its mask.
        """
        keep: dict[str, Tensor] = {}
        first: dict[Tensor, str] = {}
        for name, module, attribute in slots(model):
            mask = getattr(module, f"{attribute}_mask", None)
            weight = getattr(module, attribute if mask is None else f"{attribute}_orig")
            mask = torch.ones_like(weight) if mask is None else mask
            known = first.setdefault(weight, name)
            if known == name:
                keep[name] = mask
            elif not mask.equal(keep[known]):
                raise UserError(f"{name} and {known} are one weight, but their masks differ")
        return cls(Bits({name: tensor.bool() for name, tensor in keep.items()}))

    def save(self, path: Path | str, about: Mapping[str, Any] | None = None) -> None:
        write_tensors(Path(path), self.keep, kind="mask", version=1, about=about or {})

    @classmethod
    def load(cls, path: Path | str) -> tuple[Self, dict[str, Any]]:
        """Return the mask and the description it was saved with."""
        keep, about = read_tensors(Path(path), kind="mask", version=1)
        return cls(keep), about


class Masked(nn.Module):
    """Parametrization that holds pruned weights at zero; its buffer `keep` is the mask."""

    keep: Tensor

    def __init__(self, keep: Tensor) -> None:
        super().__init__()
        self.register_buffer("keep", keep)

    def forward(self, weight: Tensor) -> Tensor:
        return weight.masked_fill(self.keep.logical_not(), 0)
