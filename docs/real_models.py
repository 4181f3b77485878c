"""Two networks of other libraries, pruned to 5 % before training and then trained a little.

    python docs/real_models.py

On the Fashion-MNIST sample, resized to 32 px and given three channels, AutoS, with the predictor
that comes with the package, is compared with hand-made criteria: the same initial weights, the same
recipe, three seeds. Writes `docs/real_models.json` and prints the table of `docs/reuse.md`; takes
five minutes of CPU time.
"""

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import timm
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v3_small

from pipeline.criteria import CRITERIA
from pipeline.datasets.base import ImageSource
from pipeline.images import ImageSet, ScoringConfig, Split
from pipeline.masks import Mask
from pipeline.predictor import Predictor
from pipeline.preparing import prepare
from pipeline.pruning import prune
from pipeline.recipes import TrainConfig
from pipeline.training import accuracy, fit

OUT = Path(__file__).with_suffix(".json")
SAMPLE = Path(__file__).parents[1] / "data" / "fashion_mnist_sample"
DENSITY, SEEDS, SIDE = 0.05, (0, 1, 2), 32
# torchvision's momentum of 0.01 leaves the running statistics behind in a training of minutes.
NORM = partial(nn.BatchNorm2d, momentum=0.1)
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "torchvision:mobilenet_v3_small": lambda: mobilenet_v3_small(num_classes=10, norm_layer=NORM),
    "timm:test_resnet": lambda: timm.create_model("test_resnet", num_classes=10),
}
METHODS = ("dense", "autos", "random", "magnitude", "snip")
SCORING = ScoringConfig(per_class=25, batch_size=125, batch_norm="train")
RECIPE = TrainConfig(epochs=2, batch_size=64, optimizer="adam", lr=2e-3, schedule="cosine")


@cache
def images() -> ImageSet:
    """The sample, `SIDE` px and with three channels."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "images.zarr"
        prepare(ImageSource(kind=SAMPLE.name, path=SAMPLE, validation=0.5, seed=0), store)
        grey = ImageSet.load(store)
    about = {**grey.about, "mean": grey.about["mean"] * 3, "std": grey.about["std"] * 3}
    parts = {name: _coloured(getattr(grey, name)) for name in ("train", "validation", "test")}
    return replace(grey, **parts, about=about)


def _coloured(split: Split) -> Split:
    """The same images, `SIDE` px and three equal channels."""
    grey = split.images.permute(0, 3, 1, 2).float()
    larger = F.interpolate(grey, (SIDE, SIDE), mode="bilinear").round().byte()
    return replace(split, images=larger.permute(0, 2, 3, 1).repeat(1, 1, 1, 3))


def trained(network: str, method: str, seed: int) -> float:
    """Test accuracy of a network after pruning by `method` and a short training."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = NETWORKS[network]()
    fit(model, images(), RECIPE, seed=seed, mask=mask(model, method, seed))
    return accuracy(model, images(), images().test)


def mask(model: nn.Module, method: str, seed: int) -> Mask:
    if method == "dense":
        return Mask.dense(model)
    criterion = Predictor.load() if method == "autos" else CRITERIA[method]
    batches = SCORING.batches(images(), seed=seed)
    return prune(model, criterion, batches, density=DENSITY, seed=seed)


def main() -> None:
    cells = list(product(NETWORKS, METHODS, SEEDS))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        accuracies = list(pool.map(trained, *zip(*cells, strict=True)))
    found = {network: {method: [] for method in METHODS} for network in NETWORKS}
    for (network, method, _), value in zip(cells, accuracies, strict=True):
        found[network][method].append(round(value, 4))
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Test accuracy in per cent, mean ± standard deviation over seeds, in Markdown."""
    lines = [f"| criterion | {' | '.join(found)} |", "| --- |" + " ---: |" * len(found)]
    for method in METHODS:
        values = [[100 * value for value in found[network][method]] for network in found]
        texts = [f"{statistics.mean(v):.1f} ± {statistics.stdev(v):.1f}" for v in values]
        lines.append(f"| {method} | {' | '.join(texts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
