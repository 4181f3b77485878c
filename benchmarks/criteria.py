"""Our SNIP, GraSP and SynFlow against a straightforward implementation, from a model to a mask."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from autos.methods.criteria import CRITERIA
from autos.network.initialize import initialize
from autos.pruning import prune
from benchmarks import straightforward
from benchmarks.figures import Figure, at_least, ratio
from models import ARCHITECTURES

DENSITY = 0.05
BATCH, BATCHES = 32, 2
TARGETS = {"snip": 1.0, "grasp": 1.0, "synflow": 2.0}
REPEATS = {"snip": 15, "grasp": 7, "synflow": 1}  # SynFlow repeats itself in 100 rounds.
ARCHITECTURE_NAMES = ("resnet_18", "vgg_16")


def run() -> list[Figure]:
    """Measure speed over the straightforward implementation, and agreement of the masks."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.randn(BATCH, 3, 32, 32, generator=generator),
            torch.randint(0, 10, (BATCH,), generator=generator),
        )
        for _ in range(BATCHES)
    ]
    figures = []
    for architecture in ARCHITECTURE_NAMES:
        build = ARCHITECTURES[architecture]
        model = initialize(build(num_classes=10, in_channels=3, image_size=32), seed=0)
        for name, target in TARGETS.items():
            usual: Callable[..., dict[str, Tensor]] = getattr(straightforward, name)
            masks: dict[str, Mapping[str, Tensor]] = {}

            def theirs(usual=usual, model=model, masks=masks) -> None:
                masks["theirs"] = usual(model, batches, DENSITY)

            def ours(name=name, model=model, masks=masks) -> None:
                masks["ours"] = prune(model, CRITERIA[name], batches, density=DENSITY).keep

            speed = ratio(theirs, ours, REPEATS[name])
            same = intersection_over_union(masks["ours"], masks["theirs"])
            title = f"criteria: {name} on {architecture}"
            figures.append(at_least(f"{title}, speed", speed, target, "times"))
            figures.append(at_least(f"{title}, agreement", same, 0.999, "IoU"))
    return figures


def intersection_over_union(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> float:
    """Compute the share that two masks both keep of the weights that either keeps."""
    both = sum(int((one[name] & two[name]).sum()) for name in one)
    either = sum(int((one[name] | two[name]).sum()) for name in one)
    return both / either
