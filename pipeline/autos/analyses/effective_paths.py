"""Effective weights, units and paths: what a mask leaves connected from input to output.

A weight is effective if it lies on a path of kept weights from an input to an output. All-ones
inputs run through the network with its mask as weights, no biases, normalisation and activations
bypassed, and average in place of max pooling; what gets a gradient is on a path, and the sum of
the outputs counts paths (as SynFlow, at |w| = mask). Average pooling divides that count by the
size of its window, for any mask alike: compare it with the dense network's. A weight that only
ever meets padding, as the rim of a kernel on an image of one pixel, is on no path.

Published code counts in single precision, which overflows, keeps max pooling, and sets biases to 1
so that paths begin in the middle. Here connectedness passes as 0 or 1 from layer to layer, and
paths are counted in double precision from a tiny input on, which holds up to 10^578 of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from autos.errors import UserError
from autos.masks.mask import Mask
from autos.network.batches import logits, run
from autos.network.gradients import NO_CHECKPOINTS, check_checkpoints
from autos.network.prunable import layouts
from autos.network.working_copy import working_copy

TINY = 2.0**-900
"""Value of every input when paths are counted, a power of two so that sums stay exact."""

# fmt: off
BYPASSED = frozenset((
    "batch_norm", "instance_norm", "group_norm", "layer_norm", "rms_norm", "local_response_norm",
    "relu", "relu_", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu",
    "silu", "mish", "softplus", "hardtanh", "hardswish", "sigmoid", "hardsigmoid", "logsigmoid",
    "tanh", "softsign", "softmax", "log_softmax",
))
# fmt: on
"""Names of the functions of torch that hand their input on."""

AVERAGES = {
    "max_pool1d": F.avg_pool1d,
    "max_pool2d": F.avg_pool2d,
    "max_pool3d": F.avg_pool3d,
}
"""Average pooling that stands in for each max pooling, by the name of torch's function."""

ADAPTIVE_AVERAGES = {
    "adaptive_max_pool1d": F.adaptive_avg_pool1d,
    "adaptive_max_pool2d": F.adaptive_avg_pool2d,
    "adaptive_max_pool3d": F.adaptive_avg_pool3d,
}
"""Average pooling that stands in for each adaptive max pooling, by the name of torch's function."""

NO_SUMS = {
    "multi_head_attention_forward": "attention",
    "scaled_dot_product_attention": "attention",
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), "recurrent layers"),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), "recurrent cells"),
    "bilinear": "bilinear layers",
}
"""What is no sum over paths, by the names of the functions of torch that compute it."""

LINEAR = frozenset(
    (
        "linear",
        "addmm",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
    )
)
"""Names of the functions of torch that multiply by the weights of a layer."""


@dataclass(frozen=True)
class Effective:
    """What a mask leaves connected from input to output.

    Attributes:
        mask: The weights that lie on a path.
        units: Number of output channels with a path in and a path out, by layer.
        log10_paths: Logarithm to base 10 of the number of paths; minus infinity if there is none.
    """

    mask: Mask
    units: dict[str, int]
    log10_paths: float


def effective(model: nn.Module, mask: Mask, shape: Sequence[int]) -> Effective:
    """Find what a mask leaves connected in a model.

    Args:
        model: Network, whose own values do not matter; it is left untouched.
        mask: Mask to analyse.
        shape: Shape of one sample.

    Raises:
        UserError: The mask does not fit, the model does not take the shape, or it has attention
            or recurrence.
    """
    counted = working_copy(model, double=True).eval()
    weights = mask.check(counted)
    with torch.no_grad():
        for name, parameter in counted.named_parameters():
            parameter.fill_(0 if name.endswith("bias") else 1)
        for name, keep in mask.keep.items():
            weights[name].copy_(keep)
    inputs = torch.ones(1, *shape, dtype=torch.float64)
    # A checkpoint would run once more, with the true functions, in the backward pass.
    with _Connected(), torch.autograd.graph.disable_saved_tensors_hooks(NO_CHECKPOINTS):
        reached = logits(run(counted, (inputs,))).sum()
    check_checkpoints(reached)
    gradients = torch.autograd.grad(reached, list(weights.values()), allow_unused=True)
    connected = Mask(
        {
            name: mask.keep[name] & (torch.zeros_like(w) if gradient is None else gradient).bool()
            for (name, w), gradient in zip(weights.items(), gradients, strict=True)
        }
    )
    with _Counted(), torch.no_grad():
        paths = float(logits(run(counted, (inputs * TINY,))).sum())
    return Effective(
        connected,
        {name: int(units.any(dim=1).sum()) for name, units in by_unit(model, connected).items()},
        math.log10(paths) - math.log10(TINY) if paths else -math.inf,
    )


def by_unit(model: nn.Module, mask: Mask) -> dict[str, Tensor]:
    """Return the mask as [units, weights into the unit], by the name of the weight.

    A unit is an output channel.
    """
    axes = layouts(model)
    return {name: axes[name].by_unit(keep).flatten(1) for name, keep in mask.keep.items()}


class _Counted(TorchFunctionMode):
    """Context in which the functions of torch do nothing but add and average."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in NO_SUMS:
            raise UserError(
                f"a network with {NO_SUMS[name]} is no sum over paths: they cannot be counted"
            )
        if name in BYPASSED:
            return args[0]
        if name in AVERAGES:
            return _average(AVERAGES[name], *args, **kwargs)
        if name in ADAPTIVE_AVERAGES:
            return ADAPTIVE_AVERAGES[name](*args[:2])
        return self.passed(name, func(*args, **kwargs))

    def passed(self, name: str, output: Any) -> Any:
        """Return what goes on from the function of that name."""
        return output


class _Connected(_Counted):
    """Context in which a layer's output, and its gradient, are 1 where they are positive."""

    def passed(self, name: str, output: Any) -> Any:
        return _Positive.apply(output) if name in LINEAR else output


class _Positive(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return values.sign()

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient.sign()


def _average(
    pool: Any,
    values: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    **_: Any,
) -> Tensor:
    """Pool by the average, with the arguments of max pooling."""
    if dilation not in (1, (1,), (1, 1), (1, 1, 1)):
        raise UserError("max pooling with dilation has no average pooling to stand in for it")
    return pool(values, kernel_size, stride, padding, ceil_mode)
