"""Masks over the prunable weights of a network, and what can be done with one."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils import prune as torch_prune

from autos.errors import UserError
from autos.masks.attached import Attached, Pruned
from autos.masks.bits import Bits
from autos.network.prunable import memory, places, prunable, slots, unwrap
from autos.storage.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class Mask:
    """Which weights of a network are kept: one boolean tensor per prunable weight.

    Weights that it does not name stay whole. A mask never changes: another one is made by
    `Mask({**mask.keep, name: changed})`.

    Attributes:
        keep: Boolean tensors by parameter name, True for a weight that is kept. They are held in
            bits: reading one gives a copy on the CPU, which refuses to be written.

    Example:
        >>> import torch
        >>> mask = Mask({"weight": torch.tensor([[True, False], [True, True]])})
        >>> mask.kept, mask.total, mask.density
        (3, 4, 0.75)
        >>> sparser = Mask({"weight": mask.keep["weight"] & torch.tensor([True, False])})
        >>> sparser.layer_densities()
        {'weight': 0.5}
    """

    keep: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        if not isinstance(self.keep, Bits):
            object.__setattr__(self, "keep", Bits(self.keep))

    @property
    def bits(self) -> Bits:
        """The mapping `keep` in its packed form, which can be read piece by piece."""
        assert isinstance(self.keep, Bits)
        return self.keep

    @classmethod
    def dense(cls, model: nn.Module) -> Self:
        """Make the mask that keeps every weight of `model`."""
        return cls(Bits.full({name: w.shape for name, w in prunable(model).items()}, True))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights by name."""
        return {name: tuple(shape) for name, shape in self.bits.shapes.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of weights by the name of their layer's weight."""
        return {name: shape.numel() for name, shape in self.bits.shapes.items()}

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(self.sizes.values())

    @property
    def kept(self) -> int:
        """Number of weights that are kept."""
        return sum(map(self.bits.count, self.keep))

    @property
    def density(self) -> float:
        """Fraction of the prunable weights that is kept."""
        return self.kept / self.total

    def layer_densities(self) -> dict[str, float]:
        """Return the fraction of each layer's weights that is kept."""
        return {name: self.bits.count(name) / size for name, size in self.sizes.items()}

    def empty_layers(self) -> list[str]:
        """Return the names of the weights of which nothing is kept; no signal passes there."""
        return [name for name in self.keep if not self.bits.count(name)]

    def check(self, model: nn.Module) -> dict[str, Tensor]:
        """Check that the mask fits a model, and return the weights that it is for by name.

        Raises:
            UserError: The mask names a weight that the model does not have in this shape.
        """
        weights = prunable(model)
        want = {name: tuple(weight.shape) for name, weight in weights.items()}
        have = self.shapes
        if not have.items() <= want.items():
            name = next(n for n in {**want, **have} if want.get(n) != have.get(n))
            raise UserError(
                f"mask does not fit the model: {name} is {have.get(name, 'absent')} in the mask "
                f"and {want.get(name, 'absent')} in the model"
            )
        return {name: weights[name] for name in have}

    def apply_(self, model: nn.Module) -> None:
        """Set the pruned weights of `model` to exactly zero, in place.

        Raises:
            UserError: The mask does not fit the model.
        """
        weights = self.check(model)
        for name, keep in self.keep.items():
            Pruned(weights[name], keep).zero_(weights[name])

    def attach(self, model: nn.Module, *optimizers: torch.optim.Optimizer) -> Attached:
        """Set the pruned weights to zero and hold them there while optimizers train the model.

        This is for any training loop: call it once, after the optimizer was made and before the
        first step. `autos.integrations` does it in the Trainers of Lightning and transformers.
        Parameters and state dict keep their names, unlike with `parametrize`.

        Returns:
            What holds the weights; its `detach()` lets the optimizers train them all again.

        Raises:
            UserError: The mask does not fit the model, or no optimizer holds any of its weights.

        Example:
            >>> import torch
            >>> model = torch.nn.Linear(2, 2, bias=False)
            >>> optimizer = torch.optim.Adam(model.parameters())
            >>> mask = Mask({"weight": torch.tensor([[True, False], [False, True]])})
            >>> attached = mask.attach(model, optimizer)
            >>> model(torch.ones(3, 2)).square().sum().backward()
            >>> optimizer.step()
            >>> int(model.weight.count_nonzero())
            2
        """
        weights = self.check(model)
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        held = {id(parameter) for group in groups for parameter in group["params"]}
        if not any(id(weight) in held for weight in weights.values()):
            raise UserError(
                "the optimizer holds none of the model's prunable weights; make it from "
                "model.parameters(), after the model was moved and wrapped"
            )
        self.apply_(model)
        return Attached(weights, self.keep, optimizers)

    def parametrize(self, model: nn.Module) -> None:
        """Hold the pruned weights at zero during any training, by torch parametrizations.

        `unparametrize` makes the model plain again. Do that before saving: a state dict has the
        key `parametrizations.weight.original` where it had `weight`, which `from_pretrained` of
        transformers does not know, so that it draws the weights anew. `attach` changes no key. A
        layer that shares its weight gets the same mask; that includes embeddings.

        Raises:
            UserError: The mask does not fit the model.
        """
        inner = unwrap(model)
        for name, weight in self.check(model).items():
            masked = Masked(self.keep[name].to(weight.device))
            for module, attribute in list(places(inner, weight)):
                parametrize.register_parametrization(module, attribute, masked)

    @staticmethod
    def unparametrize(model: nn.Module) -> None:
        """Undo `parametrize`: layers are plain again, and pruned weights are exactly zero.

        Raises:
            UserError: A weight has another parametrization as well.
        """
        found = [
            (module, attribute, list(chain))
            for module in model.modules()
            if parametrize.is_parametrized(module)
            for attribute, chain in module.parametrizations.items()  # type: ignore[union-attr, operator]
            if any(isinstance(step, Masked) for step in chain)
        ]
        for module, attribute, chain in found:
            if len(chain) > 1:
                raise UserError(
                    f"{type(module).__name__}.{attribute} has another parametrization beside the "
                    "mask; remove both with torch.nn.utils.parametrize.remove_parametrizations"
                )
        for module, attribute, _ in found:
            parametrize.remove_parametrizations(module, attribute)

    def to_torch_prune(self, model: nn.Module) -> None:
        """Put `model` into the form of `torch.nn.utils.prune`, as its `custom_from_mask` does.

        Raises:
            UserError: The mask does not fit the model.
        """
        inner = unwrap(model)
        for name, weight in self.check(model).items():
            for module, attribute in list(places(inner, weight)):
                keep = self.keep[name].to(weight.device)
                torch_prune.custom_from_mask(module, attribute, keep)
        for module in inner.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.register_forward_pre_hook(_prune_projection)

    @classmethod
    def from_torch_prune(cls, model: nn.Module) -> Self:
        """Read the mask of a model that `torch.nn.utils.prune` has pruned in any way.

        A layer that it has not pruned is kept whole.

        Raises:
            UserError: Layers that share a weight do not share its mask.
        """
        keep: dict[str, Tensor] = {}
        first: dict[Hashable, str] = {}
        for name, module, attribute in slots(model):
            mask = getattr(module, f"{attribute}_mask", None)
            weight = getattr(module, attribute if mask is None else f"{attribute}_orig")
            if weight.numel() == 0:
                continue
            mask = torch.ones_like(weight) if mask is None else mask
            known = first.setdefault(memory(weight), name)
            if known == name:
                keep[name] = mask.bool()
            elif not mask.bool().equal(keep[known]):
                raise UserError(f"{name} and {known} are one weight, but their masks differ")
        return cls(keep)

    def save(self, path: Path | str, about: Mapping[str, Any] | None = None) -> None:
        """Write the mask, and a description that JSON can hold, as a safetensors file."""
        write_tensors(Path(path), self.keep, kind="mask", version=1, about=about or {})

    @classmethod
    def load(cls, path: Path | str) -> tuple[Self, dict[str, Any]]:
        """Read a mask, and the description that it was saved with.

        Raises:
            UserError: There is no such file, or it is damaged or no mask.
        """
        keep, about = read_tensors(Path(path), kind="mask", version=1)
        return cls(keep), about


def _prune_projection(attention: nn.MultiheadAttention, inputs: Any) -> None:
    """Compute the pruned weight of attention's last layer, which attention never calls."""
    for hook in attention.out_proj._forward_pre_hooks.values():
        hook(attention.out_proj, inputs)


class Masked(nn.Module):
    """Parametrization that holds pruned weights at zero.

    Attributes:
        keep: The mask of the weight, a boolean buffer.
    """

    keep: Tensor

    def __init__(self, keep: Tensor) -> None:
        super().__init__()
        self.register_buffer("keep", keep.clone())

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with zeros in the pruned places."""
        return weight.masked_fill(self.keep.logical_not(), 0)
