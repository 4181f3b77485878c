"""Architectures to prune, one file per family, and the registry that names them.

Every entry is called as `build(num_classes=, in_channels=, image_size=, width=)`, with keywords
only. It returns a network from images [n, in_channels, image_size, image_size] to logits
[n, num_classes]; it raises ValueError for a width or an image size that it does not support. Its
initial weights are PyTorch's or torchvision's, and the library replaces them
(`autos.network.initialize`).

To add an architecture, write `models/x.py` with its `build`, import it here and add its line.
Importing torchvision takes seconds, so a module that needs it does that inside `build`.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from models import (
    conv,
    imagenet,
    lenet_5,
    lenet_300_100,
    mobilenet_v2,
    resnet_cifar,
    resnet_imagenet,
    shufflenet_v2,
    vgg,
    wide_resnet,
)

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "lenet_300_100": lenet_300_100.build,
    "lenet_5": lenet_5.build,
    "conv_4": partial(conv.build, depth=4),
    "conv_6": partial(conv.build, depth=6),
    "conv_6_bn": partial(conv.build, depth=6, batch_norm=True),
    "resnet_18": partial(resnet_imagenet.build, depth=18),
    "resnet_50": partial(resnet_imagenet.build, depth=50),
    "resnet_20": partial(resnet_cifar.build, depth=20),
    "resnet_32": partial(resnet_cifar.build, depth=32),
    "resnet_56": partial(resnet_cifar.build, depth=56),
    "vgg_16": partial(vgg.build, depth=16),
    "vgg_19": partial(vgg.build, depth=19),
    "wide_resnet_10_1": partial(wide_resnet.build, depth=10, widen=1),
    "wide_resnet_28_2": partial(wide_resnet.build, depth=28, widen=2),
    "mobilenet_v2": mobilenet_v2.build,
    "shufflenet_v2": shufflenet_v2.build,
    "resnet_18_imagenet": partial(imagenet.build, name="resnet18"),
    "resnet_50_imagenet": partial(imagenet.build, name="resnet50"),
}
