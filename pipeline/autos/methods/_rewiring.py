"""Parts of dynamic sparse training: connections are dropped in training, and as many are grown.

A connection that is dropped or grown begins anew: its weight is 0, and so is all that the
optimizer remembers of it. A connection that is dropped and grown at once is no exception (RigL's
code keeps its value and momentum). Biases and normalisation stay dense.

Where the authors of a method count in steps, and an epoch is shorter than their interval, the mask
changes after each epoch. Where they count in epochs, the mask never changes in a training of a
single epoch.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from autos.masks.mask import Mask
from autos.masks.selection import keep_top
from autos.methods.base import Context, Found
from autos.methods.layerwise import Allocation, random_positions
from autos.training.budget import Budget
from autos.training.callbacks import Callback, Loop


def random_mask(model: nn.Module, context: Context[Any], allocate: Allocation) -> Mask:
    """Draw a mask of random positions, as many in every layer as are allocated to it."""
    scores = random_positions(model, context, allocate)
    return keep_top(scores, context.density, within=Mask.dense(model))


def train(
    model: nn.Module, budget: Budget, mask: Mask, rewiring: Callback, *, per_layer: bool
) -> Found:
    """Train once by the recipe, from a sparse network to a sparse network.

    Args:
        model: Network to train, in place.
        budget: Recipe and data of the training.
        mask: Mask at the beginning.
        rewiring: Callback that changes the mask.
        per_layer: Whether the number of kept weights has to stay the same in every layer, or only
            in the whole network.

    Returns:
        The mask at the end, and the trained weights.
    """
    constant = ConstantDensity(per_layer)
    budget.train(model, mask=mask, callbacks=[rewiring, constant])
    return found(model, constant.keep)


def found(model: nn.Module, keep: Mapping[str, Tensor]) -> Found:
    """Make a result of the weights of a trained `model` and of its loop's `keep`."""
    mask = Mask({name: values.bool().cpu() for name, values in keep.items()})
    return Found(mask, start=model.state_dict(), trained=True)


class ConstantDensity(Callback):
    """Asserts after every step that the mask keeps as many weights as before the first step.

    Args:
        per_layer: Whether weights are counted in every layer, or only in the whole network.
    """

    def __init__(self, per_layer: bool) -> None:
        self.per_layer = per_layer

    def on_start(self, loop: Loop) -> None:
        self.keep = loop.keep
        self.counts = self._counts()

    def after_step(self, loop: Loop) -> None:
        counts = self._counts()
        assert counts == self.counts, f"kept weights after step {loop.step}: {counts}"

    def _counts(self) -> list[int]:
        counts = torch.stack([keep.count_nonzero() for keep in self.keep.values()])
        return counts.tolist() if self.per_layer else [int(counts.sum())]


def smallest(scores: Tensor, among: Tensor, count: int) -> Tensor:
    """Mark the `count` lowest scores among the places where `among` is true.

    Of equal scores, those that come first in memory order are marked.

    Returns:
        Boolean tensor of the shape of `among`.
    """
    places = among.flatten().nonzero().flatten()
    order = scores.flatten()[places].argsort(stable=True)
    return _at(places[order[:count]], among)


def largest(scores: Tensor, among: Tensor, count: int) -> Tensor:
    """Mark the `count` highest scores among the places where `among` is true.

    Of equal scores, those that come first in memory order are marked.

    Returns:
        Boolean tensor of the shape of `among`.
    """
    return smallest(-scores, among, count)


def pick(among: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Mark `count` of the places where `among` is true, drawn at random.

    Returns:
        Boolean tensor of the shape of `among`.
    """
    places = among.flatten().nonzero().flatten()
    order = torch.randperm(len(places), generator=generator)[:count]
    return _at(places[order.to(places.device)], among)


def _at(places: Tensor, like: Tensor) -> Tensor:
    chosen = torch.zeros(like.numel(), dtype=torch.bool, device=like.device)
    chosen[places] = True
    return chosen.view(like.shape)


@torch.no_grad()
def rewire_(loop: Loop, name: str, *, dropped: Tensor, grown: Tensor) -> None:
    """Take connections from a layer and give it others, in place.

    Args:
        loop: Training whose mask, weights and optimizer are changed.
        name: Name of the layer's weight.
        dropped: Places of the connections to drop, boolean, in the shape of the weight.
        grown: Places of the connections to grow, boolean, in the shape of the weight.
    """
    changed = dropped | grown
    loop.keep[name].masked_fill_(dropped, 0).masked_fill_(grown, 1)
    weight = loop.weights[name]
    weight.masked_fill_(changed, 0)
    for state in loop.optimizer.state[weight].values():
        if isinstance(state, Tensor) and state.shape == weight.shape:
            state.masked_fill_(changed, 0)


def ends_epoch(loop: Loop) -> bool:
    """Tell whether a step ends an epoch that is not the last one.

    What grew after the last epoch would never be trained.
    """
    return loop.step % loop.steps_per_epoch == 0 and loop.step < loop.steps


def due(loop: Loop, interval: int, end: float) -> bool:
    """Tell whether a change of the mask is due at the present step.

    Args:
        loop: The training.
        interval: Number of steps between two changes; an epoch, if that is shorter.
        end: Share of the training after which the mask rests.
    """
    interval = min(interval, loop.steps_per_epoch)
    return loop.step > 0 and loop.step % interval == 0 and loop.step < end * loop.steps
