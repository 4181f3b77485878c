"""Iterative rewind pruning, IRP (AutoS paper, Algorithm 2): how long does each weight survive?

    repeat until the final density: rewind, train, prune the survivors, count them

Where the released code of the paper differs from the paper, this follows the paper: it trains
before it prunes, prunes survivors only, reaches the final density, rewinds everything, and takes
the mean gradient.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autos.masks.mask import Mask
from autos.methods.base import Context, Criterion
from autos.methods.cycles import train_and_prune
from autos.network.batches import Batches
from autos.network.working_copy import copied

Train = Callable[[nn.Module, Mask], Any]
"""Function that trains a network in place, under a mask; what it returns is handed on."""


@dataclass(frozen=True)
class Round:
    """What a round leaves.

    Attributes:
        mask: The weights that have survived up to now.
        survival: How many rounds each weight has survived, integers by parameter name.
        trained: What the training returned.
    """

    mask: Mask
    survival: dict[str, Tensor]
    trained: Any


def irp(
    initial: nn.Module,
    densities: Sequence[float],
    *,
    train: Train,
    criterion: Criterion[Any],
    batches: Batches,
    seed: int = 0,
) -> Iterator[Round]:
    """Run IRP from the dense network to the surviving scores, round by round.

    Args:
        initial: The network at its initialisation, which is left untouched.
        densities: Density of the whole network after each round, each below the one before.
        train: Trains a network under a mask.
        criterion: Scores the trained weights.
        batches: What the criterion sees.
        seed: Seed of a random criterion.

    Yields:
        Each round. The survival in the last one is the surviving score of every weight.

    Example:
        >>> import torch
        >>> from autos.methods.criteria import CRITERIA
        >>> network = torch.nn.Linear(4, 2)
        >>> def train(model, mask): ...  # nothing, in this example
        >>> *_, last = irp(
        ...     network, [0.5, 0.25], train=train, criterion=CRITERIA["magnitude"], batches=[]
        ... )
        >>> last.mask.kept, last.survival["weight"].flatten().bincount().tolist()
        (2, [4, 2, 2])
    """
    mask = Mask.dense(initial)
    survival = {name: torch.zeros(shape, dtype=torch.int64) for name, shape in mask.shapes.items()}
    for density in densities:
        mask, trained = one_round(
            initial,
            mask,
            density=density,
            train=train,
            criterion=criterion,
            batches=batches,
            seed=seed,
        )
        survival = {name: count + mask.keep[name] for name, count in survival.items()}
        yield Round(mask, survival, trained)


def one_round(
    initial: nn.Module,
    mask: Mask,
    *,
    density: float,
    train: Train,
    criterion: Criterion[Any],
    batches: Batches,
    seed: int = 0,
) -> tuple[Mask, Any]:
    """Run the body of the loop: rewind, train, and prune down to `density`.

    Args:
        mask: What the rounds so far have left.
        density: Density of the whole network after this round.

    The other arguments are those of `irp`.

    Returns:
        The mask after this round, a subset of `mask`, and what `train` returned.
    """
    model = copied(initial)  # This rewinds weights, biases and all of BatchNorm.
    mask.apply_(model)
    context = Context(
        batches,
        density,
        torch.Generator().manual_seed(seed),
        settings=criterion.settings(),
        seed=seed,
    )
    return train_and_prune(model, mask, train=train, criterion=criterion, context=context)
