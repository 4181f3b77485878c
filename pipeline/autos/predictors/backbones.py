"""Networks of the paper's predictor (AutoS paper, appendix B.2, table 7).

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

from autos.errors import extra


def mlp(inputs: int) -> nn.Sequential:
    """Build three hidden layers of 64: 8.4 k multiply-adds a weight, not 560 M as in ResNet-18.

    The network is smooth, so that different weights do not tie, and has no normalisation, so that
    also in training a score does not depend on the batch.
    """
    layers: list[nn.Module] = []
    for size in (inputs, 64, 64):
        layers += [nn.Linear(size, 64), nn.SiLU()]
    return nn.Sequential(*layers, nn.Linear(64, 1), nn.Flatten(0))


def resnet18(inputs: int) -> nn.Sequential:
    """Build the upper half of table 7; the features are an image of 3x32x32."""
    with extra("pipeline"):
        import torchvision  # It takes seconds to import.

    encoder = _encoder(inputs, 64, 3 * 32 * 32)
    body = torchvision.models.resnet18(num_classes=32)
    body.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    body.maxpool = nn.Identity()
    return nn.Sequential(
        *encoder,
        nn.Unflatten(1, (3, 32, 32)),
        body,
        nn.Linear(32, 1),
        nn.ReLU(),
        nn.Flatten(0),
    )


def vgg19(inputs: int) -> nn.Sequential:
    """Build the lower half of table 7: 1.1e9 weights, nearly all in the third linear layer."""
    with extra("pipeline"):
        from torchvision.models import vgg  # It takes seconds to import.

    encoder = _encoder(inputs, 64, 64 * 64, 64 * 64 * 64)
    convolutions = vgg.make_layers(vgg.cfgs["E"], batch_norm=True)
    convolutions[0] = nn.Conv2d(64, 64, 3, padding=1)  # `make_layers` takes RGB only.
    return nn.Sequential(
        *encoder,
        nn.Unflatten(1, (64, 64, 64)),
        convolutions,
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
"""Functions that build a network from the number of inputs, by name."""
