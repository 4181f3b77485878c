"""SNIP, GraSP and SynFlow as their authors' code has them, on a copy of the model.

Each function takes what `autos.prune` takes, and returns the mask by the name of the parameter.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autos.methods.schedules import exponential

Batches = Sequence[tuple[Tensor, Tensor]]


def snip(model: nn.Module, batches: Batches, density: float) -> dict[str, Tensor]:
    """Find the mask of SNIP (Lee et al., ICLR 2019)."""
    model = copy.deepcopy(model)
    weights = _weights(model)
    for inputs, labels in batches:
        F.cross_entropy(model(inputs), labels).backward()
    return _largest({name: (w * w.grad).detach().abs() for name, w in weights.items()}, density)


def grasp(model: nn.Module, batches: Batches, density: float) -> dict[str, Tensor]:
    """Find the mask of GraSP (Wang et al., ICLR 2020)."""
    model = copy.deepcopy(model).train()
    weights = _weights(model)
    parameters = list(weights.values())
    first = [torch.zeros_like(w) for w in parameters]
    for inputs, labels in batches:
        loss = F.cross_entropy(model(inputs) / 200, labels)
        for total, part in zip(first, torch.autograd.grad(loss, parameters), strict=True):
            total += part
    for inputs, labels in batches:
        loss = F.cross_entropy(model(inputs) / 200, labels)
        parts = torch.autograd.grad(loss, parameters, create_graph=True)
        sum((g * part).sum() for g, part in zip(first, parts, strict=True)).backward()
    return _largest({name: (w * w.grad).detach() for name, w in weights.items()}, density)


def synflow(model: nn.Module, batches: Batches, density: float) -> dict[str, Tensor]:
    """Find the mask of SynFlow (Tanaka et al., NeurIPS 2020)."""
    model = copy.deepcopy(model).double().eval()
    weights = _weights(model)
    ones = torch.ones_like(batches[0][0][:1]).double()
    for target in exponential(density, 100):
        signs = {}
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                signs[name] = tensor.sign()
                tensor.abs_()
        model(ones).sum().backward()
        scores = {name: (w.grad * w).detach().abs_() for name, w in weights.items()}
        model.zero_grad()
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                tensor.mul_(signs[name])
            masks = _largest(scores, target)
            for name, mask in masks.items():
                weights[name].mul_(mask)
    return masks


def _weights(model: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.weight": module.weight
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    }


def _largest(scores: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    joined = torch.cat([score.flatten() for score in scores.values()])
    threshold = joined.kthvalue(len(joined) - round(density * len(joined)) + 1).values
    return {name: score >= threshold for name, score in scores.items()}
