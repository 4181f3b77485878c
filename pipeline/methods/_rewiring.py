"""What dynamic sparse training is made of: drop some connections of a network in training, grow
as many others.

A connection that is dropped or grown begins anew: its weight is 0, and so is all that the
optimizer remembers of it. One that is dropped and grown at once is no exception (RigL's code keeps
its value and momentum). Biases and normalisation stay dense.

Where the authors count steps and an epoch is shorter than their interval, the mask changes after
each epoch; where it changes after epochs, a training of a single one is static.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.budget import Budget
from pipeline.callbacks import Callback, Loop
from pipeline.layerwise import Allocation, random_positions
from pipeline.masks import Mask
from pipeline.method import Context, Found
from pipeline.selection import keep_top


def random_mask(model: nn.Module, context: Context, allocate: Allocation) -> Mask:
    """Random positions, as many in every layer as are allocated to it."""
    scores = random_positions(model, context, allocate)
    return keep_top(scores, context.density, within=Mask.dense(model))


def train(
    model: nn.Module, budget: Budget, mask: Mask, rewiring: Callback, *, per_layer: bool
) -> Found:
    """Train once by the recipe, from a sparse network to a sparse network.

    Args:
        per_layer: the number of kept weights stays the same in every layer, or only in all.
    """
    constant = ConstantDensity(per_layer)
    budget.train(model, mask=mask, callbacks=[rewiring, constant])
    return found(model, constant.keep)


def found(model: nn.Module, keep: Mapping[str, Tensor]) -> Found:
    """What training has made of `model` and of its loop's `keep`."""
    mask = Mask({name: values.bool().cpu() for name, values in keep.items()})
    return Found(mask, start=model.state_dict(), trained=True)


class ConstantDensity(Callback):
    """Asserts after every step that the mask keeps as many weights as before the first."""

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
    """The `count` lowest scores where `among` is true; of equal ones the first in memory order."""
    places = among.flatten().nonzero().flatten()
    order = scores.flatten()[places].argsort(stable=True)
    return _at(places[order[:count]], among)


def largest(scores: Tensor, among: Tensor, count: int) -> Tensor:
    """The `count` highest scores where `among` is true; of equal ones the first."""
    return smallest(-scores, among, count)


def pick(among: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` of the places where `among` is true, at random."""
    places = among.flatten().nonzero().flatten()
    order = torch.randperm(len(places), generator=generator)[:count]
    return _at(places[order.to(places.device)], among)


def _at(places: Tensor, like: Tensor) -> Tensor:
    chosen = torch.zeros(like.numel(), dtype=torch.bool, device=like.device)
    chosen[places] = True
    return chosen.view(like.shape)


@torch.no_grad()
def rewire_(loop: Loop, name: str, *, dropped: Tensor, grown: Tensor) -> None:
    """Take connections from a layer and give it others, in place."""
    changed = dropped | grown
    loop.keep[name].masked_fill_(dropped, 0).masked_fill_(grown, 1)
    weight = loop.weights[name]
    weight.masked_fill_(changed, 0)
    for state in loop.optimizer.state[weight].values():
        if isinstance(state, Tensor) and state.shape == weight.shape:
            state.masked_fill_(changed, 0)


def ends_epoch(loop: Loop) -> bool:
    """After every epoch but the last one: what grew then would never be trained."""
    return loop.step % loop.steps_per_epoch == 0 and loop.step < loop.steps


def due(loop: Loop, interval: int, end: float) -> bool:
    """Every `interval` steps, or every epoch if that is shorter, before `end` of the training."""
    interval = min(interval, loop.steps_per_epoch)
    return loop.step > 0 and loop.step % interval == 0 and loop.step < end * loop.steps
