"""Boolean tensors by name, packed into bits, which are read and never written."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from autos.errors import UserError

IN_PLACE = frozenset(
    f"__{name}__"
    for name in (
        "setitem", "set", "iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand",
        "ior", "ixor", "ilshift", "irshift",
    )
)  # fmt: skip
"""Names of the special methods that write."""


class ReadOnly(Tensor):
    """A tensor that refuses to be written, and whose views do so, too.

    It stands for bits that are kept elsewhere in packed form, so that writing to it would change
    nothing. What is computed from it is a plain tensor.
    """

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        in_place = name in IN_PLACE or (name.endswith("_") and not name.endswith("__"))
        written = kwargs.get("out", args[0] if in_place and args else None)
        if isinstance(written, cls):
            raise UserError(
                "a mask is read only; make a changed one, as in "
                "Mask({**mask.keep, name: mask.keep[name] & other})"
            )
        with torch._C.DisableTorchFunctionSubclass():
            return cls._guarded(func(*args, **kwargs), args)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.clone()

    @classmethod
    def _guarded(cls, output: Any, args: tuple[Any, ...]) -> Any:
        """Return what a function gave; views of read-only arguments are read only as well."""
        if isinstance(output, (tuple, list)):
            return type(output)(cls._guarded(part, args) for part in output)
        if isinstance(output, np.ndarray):
            output.flags.writeable = False
        elif isinstance(output, Tensor):
            sources = [arg for arg in args if isinstance(arg, cls)]
            place = output.untyped_storage().data_ptr()
            if any(source.untyped_storage().data_ptr() == place for source in sources):
                return output.as_subclass(cls)
        return output


class Bits(Mapping[str, Tensor]):
    """Boolean tensors by name, eight values to a byte; reading one unpacks it, on the CPU.

    Attributes:
        shapes: Shapes by name.
        packed: Values by name, uint8; unused bits at the end are 0.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Pack boolean tensors.

        Raises:
            UserError: A tensor is not boolean.
        """
        for name, tensor in tensors.items():
            if tensor.dtype != torch.bool:
                raise UserError(f"the mask of {name} is {tensor.dtype}; expected torch.bool")
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.packed = {
            name: np.packbits(tensor.detach().cpu().numpy()) for name, tensor in tensors.items()
        }

    @classmethod
    def full(cls, shapes: Mapping[str, torch.Size], value: bool) -> Self:
        """Make bits that are all true or all false, without unpacking anything."""
        bits = cls({})
        bits.shapes = dict(shapes)
        for name, shape in shapes.items():
            packed = np.full(-(-shape.numel() // 8), 255 if value else 0, np.uint8)
            if value and shape.numel() % 8:
                packed[-1] = 256 - (256 >> shape.numel() % 8)
            bits.packed[name] = packed
        return bits

    def __getitem__(self, name: str) -> Tensor:
        values = self.piece(name, 0, self.shapes[name].numel())
        return values.view(self.shapes[name]).as_subclass(ReadOnly)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def count(self, name: str) -> int:
        """Return how many values of a tensor are true."""
        return int(np.bitwise_count(self.packed[name]).sum())

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """Unpack values [stop - start] of the flattened tensor; `start` is a multiple of 8."""
        packed = self.packed[name][start // 8 : -(-stop // 8)]
        return torch.from_numpy(np.unpackbits(packed, count=stop - start).view(np.bool_))

    def set_piece(self, name: str, start: int, values: Tensor) -> None:
        """Overwrite values from `start`, a multiple of 8, while the bits are being made.

        A piece that ends inside a byte is the last one.
        """
        packed = np.packbits(values.numpy())
        self.packed[name][start // 8 : start // 8 + len(packed)] = packed
