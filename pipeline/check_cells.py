"""Sanity checks of a cell's mask: what is lost if its positions or its weights are others?

After Frankle et al. (ICLR 2021), Su et al. (NeurIPS 2020) and Sreenivasan et al. (Rare Gems,
NeurIPS 2022): a method whose masks train as well when they are shuffled within the layers has
found layer densities and no more. Weights are drawn anew by permuting those of each layer, which
is a draw from their own distribution, whatever it is: signed constants stay signed constants.
"""

import hashlib
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pipeline.config import Config
from pipeline.images import ImageSet
from pipeline.mask_cells import described, found_in
from pipeline.method import Found
from pipeline.networks import NetworkConfig
from pipeline.sanity import shuffle
from pipeline.units import Result, read_result

Check = Literal["shuffle", "reinitialise", "random_ticket", "invert"]
"""Other positions in each layer; other weights; both; and the lowest scores in place of the
highest, which is a matter of scoring (see `MaskCell.inverted`)."""


class CheckCell(Config):
    """Settings of a unit: a mask, or the weights it is for, randomised."""

    network: NetworkConfig
    images: Path
    mask: Path
    """Result of the unit to be checked."""
    check: Check
    seed: int
    """Of the initialisation and of what is drawn."""


def checked_mask(cell: CheckCell) -> Result:
    """The mask and the weights to train from, either of them randomised."""
    found = found_in(read_result(cell.mask))
    # Its own seed: a permutation by that of the method would put random positions in order again.
    own = hashlib.sha256(f"{cell.check} {cell.seed}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(own[:8]) >> 1)
    mask = found.mask
    if cell.check != "reinitialise":
        mask = shuffle(mask, generator)
    # What has been trained under the mask cannot start a training under another one.
    start, step = (None, 0) if found.trained else (found.start, found.step)
    if cell.check != "shuffle":
        model = cell.network.build(ImageSet.load(cell.images), seed=cell.seed)
        state = start or model.state_dict()
        start = {
            name: permuted(tensor, generator) if name in mask.keep else tensor
            for name, tensor in state.items()
        }
    return described(Found(mask, start, step))


def permuted(weight: Tensor, generator: torch.Generator) -> Tensor:
    """The same values in a random order."""
    order = torch.randperm(weight.numel(), generator=generator)
    return weight.flatten()[order].view(weight.shape)
