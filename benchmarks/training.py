"""An epoch of our training loop against the usual one, on the sample's training images.

The usual loop has torchvision's dataset, transforms per image, a DataLoader with two workers, and
all cores for each step. Ours is `autos.training.loop.fit` as the pipeline runs it, with one thread
per training and one training per core, so that an epoch costs the wall time divided by the number
of cores. The time of a single training of ours on all cores is shown as well. Loss and optimiser
are the same, and neither loop evaluates. The two take turns, and the median of the ratios counts.
The target is to train LeNet-300-100 at least 5 times as fast, and ResNet-20 at least 1.5 times.

    python -m benchmarks training
"""

import gzip
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from autos.compute import Hardware
from autos.images.datasets.base import ImageSource
from autos.images.image_set import ImageSet, Split
from autos.images.prepare import prepare
from autos.network.spec import NetworkConfig
from autos.training.loop import fit
from autos.training.recipe import TrainConfig
from benchmarks.figures import CORES, Figure, at_least

REPEATS = 5
TARGETS = {"lenet_300_100": 5.0, "resnet_20": 1.5}
RECIPES = {
    "lenet_300_100": {"optimizer": "adam", "lr": 1.2e-3},
    "resnet_20": {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
}


def usual_epoch(name: str, images: ImageSet, folder: Path) -> float:
    """Measure the seconds of an epoch with a DataLoader."""
    # They take seconds to import, and our own epochs do without.
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    torch.set_num_threads(CORES)
    normalize = transforms.Normalize(images.about["mean"], images.about["std"])
    transform = transforms.Compose([transforms.ToTensor(), normalize])
    dataset = datasets.FashionMNIST(str(folder), train=True, transform=transform)
    loader = DataLoader(dataset, batch_size=128, shuffle=True, num_workers=2)
    model, recipe = _network(name, images), _recipe(name)
    optimizer = recipe.optimizers(model, steps=len(loader))["optimizer"]
    model.train()
    start = time.perf_counter()
    for inputs, labels in loader:
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return time.perf_counter() - start


def our_epoch(name: str, images: ImageSet, threads: int) -> float:
    """Measure the seconds of an epoch with `fit`."""
    torch.set_num_threads(threads)
    model = _network(name, images)
    start = time.perf_counter()
    fit(model, images, _recipe(name), seed=0, hardware=Hardware(accelerator="cpu"))
    return time.perf_counter() - start


def _work(name: str, store: Path) -> float:
    return our_epoch(name, _all_for_training(ImageSet.load(store)), threads=1)


def _all_for_training(images: ImageSet) -> ImageSet:
    """Return the same 12,000 images as in torchvision's dataset, and one to validate on."""
    joined = (torch.cat(p) for p in zip(_pair(images.train), _pair(images.validation), strict=True))
    one = Split(images.test.images[:1], images.test.labels[:1])
    return ImageSet(Split(*joined), one, one, images.about)


def _pair(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    return split.images, split.labels


def _network(name: str, images: ImageSet) -> nn.Module:
    return NetworkConfig(architecture=name, images="sample").build(images, seed=0)


def _recipe(name: str) -> TrainConfig:
    return TrainConfig(epochs=1, batch_size=128, schedule="multistep", **RECIPES[name])


def run() -> list[Figure]:
    """Measure the speed of our loop over the usual one, for each network."""
    figures = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        raw = folder / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for path in Path("data/fashion_mnist_sample").glob("*.gz"):
            (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        store = folder / "sample.zarr"
        prepare(ImageSource(kind="fashion_mnist_sample", validation=0.1), store)
        images = _all_for_training(ImageSet.load(store))
        pool = ProcessPoolExecutor(CORES, get_context("spawn"))
        for name, target in TARGETS.items():
            usual, ours, single = [], [], []
            list(pool.map(_work, [name] * CORES, [store] * CORES))  # This warms the workers up.
            for _ in range(REPEATS):
                usual.append(usual_epoch(name, images, folder))
                times = list(pool.map(_work, [name] * CORES, [store] * CORES))
                ours.append(max(times) / CORES)
                single.append(our_epoch(name, images, threads=CORES))
            ratio = statistics.median(u / o for u, o in zip(usual, ours, strict=True))
            alone = statistics.median(u / s for u, s in zip(usual, single, strict=True))
            print(
                f"{name}: usual {statistics.median(usual):.2f}, ours {statistics.median(ours):.2f} "
                f"seconds an epoch; a single training {statistics.median(single):.2f}, "
                f"{alone:.1f} times as fast as the usual"
            )
            figures.append(at_least(f"training: {name}, speed", ratio, target, "times"))
        pool.shutdown()
    return figures
