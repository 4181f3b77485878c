"""Early-Bird tickets (You et al., ICLR 2020, algorithm 1): prune once the mask has settled.

The dense network is trained with an L1 penalty on the scales gamma of BatchNorm. After every epoch
a mask is drawn from |gamma|, and training ends when the distance between the newest of the last
five masks and each of the others is at most epsilon, at the latest with the end of the recipe. The
distance is the share of channels in which two masks differ.

The paper prunes channels. Here every weight has the |gamma| of its output channel as its score, so
that exactly the density is kept: all channels but one are kept or pruned as a whole, up to ties.
Layers without BatchNorm behind them, such as the last one, are kept whole. With densities far below
the paper's (it keeps 30 % of the channels and more) any two masks are close, and training ends
after five epochs.

The authors' code draws a mask before the first epoch, too, where all scales are equal, and prunes
one channel more than asked. They train the ticket on from the weights at which it is drawn; with
`rewind`, the default here, the mask is for the initialisation.
"""

from collections import deque
from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from autos.config import Config
from autos.errors import UserError
from autos.masks.mask import Mask
from autos.masks.selection import keep_top, kept_by
from autos.methods.base import Context, Found, TrainingMethod
from autos.network.batches import Prepared, run
from autos.network.prunable import layouts, prunable, slots
from autos.network.working_copy import working_copy
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop

MASKS = 5
"""Number of masks in a row that have to agree."""


class Settings(Config):
    """Settings of Early-Bird tickets."""

    epsilon: float = Field(default=0.1, ge=0, le=1)
    """Distance up to which two masks agree."""

    l1: float = Field(default=1e-4, ge=0)
    """Factor of the sum of all |gamma|, which is added to the loss."""

    rewind: bool = True
    """Whether the mask is for the initialisation; otherwise the trained weights go with it."""


def norms_behind(model: nn.Module, context: Context[Settings]) -> dict[str, str]:
    """Return the name of the BatchNorm scale behind each layer, by the name of the layer's weight.

    A BatchNorm is behind a layer if it takes the very output of the layer. Layers without one are
    not in the result.
    """
    probe = working_copy(model).eval()
    weights = prunable(probe)
    axes = layouts(probe)
    names = {id(weight): name for name, weight in weights.items()}
    scales = {id(scale): name for name, scale in probe.named_parameters()}
    outputs: dict[int, tuple[Tensor, nn.Module]] = {}  # It holds them, so that no id is used again.
    found: dict[str, str] = {}

    def after_layer(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        outputs[id(output)] = output, layer

    def before_norm(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        _, layer = outputs.get(id(inputs[0]), (None, None))
        weight, scale = getattr(layer, "weight", None), norm.get_parameter("weight")
        name = names.get(id(weight))
        # A norm of another size is of other channels.
        if name is not None and len(axes[name].by_unit(weights[name])) == len(scale):
            found.setdefault(name, scales[id(scale)])

    for _, layer, attribute in slots(probe):
        if attribute == "weight":
            layer.register_forward_hook(after_layer)
    for module in probe.modules():
        if isinstance(module, _BatchNorm) and module.affine:
            module.register_forward_pre_hook(before_norm)
    weight = next(iter(weights.values()))
    prepared = Prepared(context.batches, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        run(probe, next(iter(prepared)))
    return found


def mask_of(model: nn.Module, norms: Mapping[str, str], density: float) -> Mask:
    """Return the mask that keeps the channels with the largest |gamma|, and layers without any.

    Args:
        model: The network.
        norms: Names of BatchNorm scales by name of a weight, as from `norms_behind`.
        density: Density of the mask.
    """
    scales, axes = dict(model.named_parameters()), layouts(model)
    scores = {}
    for name, weight in prunable(model).items():
        scores[name] = torch.full(weight.shape, torch.inf)
        if name in norms:
            gamma = scales[norms[name]].detach().abs().cpu()
            units = axes[name].by_unit(weight)
            gamma = gamma.view(-1, *[1] * (units.ndim - 1)).expand(units.shape)
            scores[name] = axes[name].restored(gamma)
    return keep_top(scores, density, within=Mask.dense(model))


def channels(model: nn.Module, mask: Mask, norms: Mapping[str, str]) -> Tensor:
    """Tell which output channels [n] of all layers with BatchNorm behind them keep a weight."""
    axes = layouts(model)
    return torch.cat([axes[name].by_unit(mask.keep[name]).flatten(1).any(dim=1) for name in norms])


def distance(one: Tensor, two: Tensor) -> float:
    """Return the share of channels [n] in which two masks differ, a normalised Hamming distance."""
    return float((one != two).double().mean())


class EarlyBird(Callback):
    """Draws a mask after every epoch, and stops the training when the last masks agree."""

    def __init__(self, norms: Mapping[str, str], context: Context[Settings]) -> None:
        self.norms = norms
        self.context = context
        self.last: deque[Tensor] = deque(maxlen=MASKS)

    def penalty(self, loop: Loop) -> Tensor:
        scales = dict(loop.model.named_parameters())
        sums = [scales[name].abs().sum() for name in dict.fromkeys(self.norms.values())]
        return self.context.settings.l1 * torch.stack(sums).sum()

    def after_step(self, loop: Loop) -> None:
        if loop.step % loop.steps_per_epoch == 0:
            self.step = loop.step
            self.mask = mask_of(loop.model, self.norms, self.context.density)
            loop.stop = self.agree(channels(loop.model, self.mask, self.norms))

    def agree(self, newest: Tensor) -> bool:
        """Tell whether the newest mask is close to each of the four before it, and remember it."""
        self.last.append(newest)
        epsilon = self.context.settings.epsilon
        return len(self.last) == MASKS and all(
            distance(newest, mask) <= epsilon for mask in self.last
        )


def check(model: nn.Module, norms: Mapping[str, str], density: float) -> None:
    """Check that BatchNorm's scales can tell which weights to prune, or raise.

    Args:
        model: The network.
        norms: Names of BatchNorm scales by name of a weight, as from `norms_behind`.
        density: Density of the mask that is asked for.

    Raises:
        UserError: No layer has BatchNorm behind it, or the layers without BatchNorm have at least
            as many weights as the density keeps.
    """
    if not norms:
        raise UserError(
            f"early_bird needs BatchNorm with scales right behind layers; {type(model).__name__} "
            "has none"
        )
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    total = sum(sizes.values())
    whole = sum(size for name, size in sizes.items() if name not in norms)
    if kept_by(density, total, total) <= whole:
        raise UserError(
            f"density {density:g} keeps {round(density * total)} of {total} weights; early_bird "
            f"needs more than {whole}, those of the layers without BatchNorm, which it keeps whole"
        )


def search(model: nn.Module, context: Context[Settings], budget: Budget) -> Found:
    """Train with a penalty on the scales of BatchNorm until the masks of the last epochs agree."""
    norms = norms_behind(model, context)
    check(model, norms, context.density)
    early_bird = EarlyBird(norms, context)
    budget.train(model, callbacks=[early_bird])
    if context.settings.rewind:
        return Found(early_bird.mask)
    return Found(early_bird.mask, start=model.state_dict(), step=early_bird.step)


METHOD = TrainingMethod(
    "early_bird",
    search,
    paper="You et al., ICLR",
    year=2020,
    cost="at most 1 training",
    settings=Settings,
)
