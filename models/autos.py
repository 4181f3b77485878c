"""AutoS predictors (paper, appendix B.2, table 7): how long a weight survives, from its start.

Each maps k input features of n weights, [n, k], to scores [n]; k is 2 for the weight and its
gradient, 1 for one of them alone (appendix D.1). In eval mode a weight's score depends on nothing
but its own features.

Where table 7 is ambiguous or misprinted, and where the released code departs from it:

- The inside of a backbone. ResNet-18 is the paper's (appendix A.1) and ends in the 32 features
  that the head expects. VGG-19 is torchvision's up to the fifth pooling, then the hidden layers of
  the released code (1024, 1024), then the 64 features that the head expects.
- The shape in which features enter VGG-19. 64 * 64 * 64 of them are read as 64 channels of 64x64.
- Biases. "32 x 32 x 3" in VGG-19's second row and "[32, 1]", "[64, 1]" in the heads cannot be the
  sizes of biases; every linear layer has one bias per output.
- The released code gives VGG-19 only 3 channels and ends in a linear layer without ReLU, for
  ResNet-18 from 512 features. We follow the paper. Its output ReLU can be 0 for every weight, and
  then no gradient reaches the network: ResNet-18 starts like that for 4 of the seeds 0 to 11 (128
  standard normal pairs, PyTorch's and torchvision's initial weights).
"""

from collections.abc import Callable
from itertools import pairwise

from torch import nn

from models import resnet_imagenet, vgg


def mlp(inputs: int) -> nn.Sequential:
    """Three hidden layers of 64: our default for the CPU, 8.4 k in place of 560 M MAC a weight.

    Smooth, so that different weights do not tie; no normalisation, so that also in training a
    score does not depend on the batch.
    """
    layers: list[nn.Module] = []
    for size in (inputs, 64, 64):
        layers += [nn.Linear(size, 64), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(64, 1), nn.Flatten(0))


def resnet18(inputs: int) -> nn.Sequential:
    """Table 7, upper half; the features are an image of 3x32x32."""
    return nn.Sequential(
        *_encoder(inputs, 64, 3 * 32 * 32),
        nn.Unflatten(1, (3, 32, 32)),
        resnet_imagenet.build(num_classes=32, in_channels=3, image_size=32, depth=18),
        nn.Linear(32, 1),
        nn.ReLU(),
        nn.Flatten(0),
    )


def vgg19(inputs: int) -> nn.Sequential:
    """Table 7, lower half; 1.1e9 weights, nearly all of them in the third linear layer."""
    return nn.Sequential(
        *_encoder(inputs, 64, 64 * 64, 64 * 64 * 64),
        nn.Unflatten(1, (64, 64, 64)),
        vgg.convolutions(19, in_channels=64),
        nn.Flatten(),
        nn.Linear(512 * 2 * 2, 1024),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(1024, 1024),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(1024, 64),
        nn.Linear(64, 1),
        nn.BatchNorm1d(1),
        nn.ReLU(),
        nn.Flatten(0),
    )


def _encoder(*sizes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return layers


BACKBONES: dict[str, Callable[[int], nn.Module]] = {
    "mlp": mlp,
    "resnet18": resnet18,
    "vgg19": vgg19,
}
"""Predictor by name; the argument is the number of inputs."""
