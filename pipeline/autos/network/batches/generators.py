"""The generators of random numbers that a loader has of its own."""

import contextlib
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from autos.network.batches.forms import Batches

DEPTH = 4
"""Number of steps from a loader to a generator, as in loader, batch sampler, sampler, generator."""


@contextlib.contextmanager
def seeded(batches: Batches, seed: int) -> Iterator[None]:
    """Seed the generators that a loader has of its own; at the end of the block put them back.

    Batches with a method `set_epoch` are left to it, as torch's distributed samplers are.
    """
    with contextlib.ExitStack() as stack:
        found = {} if hasattr(batches, "set_epoch") else _generators(batches)
        for generator in found.values():
            stack.callback(_restart(generator, seed))
        yield


def _generators(holder: Any, depth: int = DEPTH) -> dict[int, Any]:
    """Find the generators in the attributes of a loader, its samplers and its data, by identity."""
    found: dict[int, Any] = {}
    for part in getattr(holder, "__dict__", {}).values():
        if isinstance(part, (torch.Generator, np.random.Generator, random.Random)):
            found[id(part)] = part
        elif depth > 1 and isinstance(part, (Iterable, Dataset)):
            found |= _generators(part, depth - 1)
    return found


def _restart(generator: Any, seed: int) -> Callable[[], Any]:
    """Seed a generator, and return a function that gives it its present state back."""
    if isinstance(generator, torch.Generator):
        state = generator.get_state()
        generator.manual_seed(seed)
        return lambda: generator.set_state(state)
    if isinstance(generator, random.Random):
        present = generator.getstate()
        generator.seed(seed)
        return lambda: generator.setstate(present)
    bits = generator.bit_generator
    before = bits.state
    bits.state = type(bits)(seed).state
    return lambda: setattr(bits, "state", before)
