"""From a criterion to a mask: score a copy of the model, keep the best, in one round or several."""

import copy

import torch
from torch import nn

from pipeline.criterion import Batches, Context, Criterion
from pipeline.masks import Mask, keep_top
from pipeline.schedules import exponential


def prune(
    model: nn.Module, criterion: Criterion, batches: Batches, *, density: float, seed: int = 0
) -> Mask:
    """Find the weights of `model` that `criterion` would keep; the model is left untouched.

    Args:
        model: any network with linear or convolution layers.
        criterion: an entry of `CRITERIA`, a predictor's, or your own.
        batches: inputs [n, ...] and class labels [n] to score on.
        density: fraction of the prunable weights to keep, in (0, 1].
        seed: of whatever the criterion draws at random.

    Returns:
        A mask that keeps exactly round(density * n) of n weights; over several rounds the
        density falls exponentially and each round keeps a subset of the one before.

    Raises:
        UserError: no weight can be kept, or a score is NaN.
    """
    context = Context(batches, density, torch.Generator().manual_seed(seed))
    start = copy.deepcopy(model)
    if criterion.double:
        start.double()
    if criterion.batch_norm is not None:
        start.train(criterion.batch_norm == "train")
    mask = Mask.dense(model)
    for target in exponential(density, criterion.rounds):
        scored = copy.deepcopy(start)
        mask.apply_(scored)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            scores = criterion.score(scored, context)
        mask = keep_top(scores, target, within=mask)
    return mask
