"""VGG-16 and -19 (Simonyan and Zisserman, ICLR 2015, table 1: D, E) with batch normalisation."""

from collections import OrderedDict

from torch import nn

from models._width import scaled

TABLE_1 = {16: "D", 19: "E"}
"""Column of the paper's table by depth, as torchvision names it."""


def build(
    *, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: int
) -> nn.Sequential:
    """Build a VGG in the form of the lottery-ticket literature, with a small head.

    After four max-poolings, the network averages and classifies. The AutoS paper's table (appendix
    A.1) prints the ImageNet head, but its released code uses this form: 14,715,584 weights for
    VGG-16 and 10 classes, 20,070,080 for VGG-19 and 100 classes.

    Raises:
        ValueError: Nothing is left of the image after four poolings.
    """
    if image_size < 16:
        raise ValueError(f"images of {image_size} px are too small: at least 16 px are needed")
    return nn.Sequential(
        OrderedDict(
            features=convolutions(depth, in_channels=in_channels, width=width)[:-1],
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(scaled(512, width), num_classes),
        )
    )


def convolutions(depth: int, *, in_channels: int, width: float = 1.0) -> nn.Sequential:
    """Build torchvision's convolutions with all five poolings.

    They map [n, in_channels, s, s] to [n, c, s/32, s/32].
    """
    from torchvision.models import vgg  # It takes seconds to import.

    plan = [c if c == "M" else scaled(c, width) for c in vgg.cfgs[TABLE_1[depth]]]
    layers: nn.Sequential = vgg.make_layers(plan, batch_norm=True)
    layers[0] = nn.Conv2d(in_channels, plan[0], 3, padding=1)  # `make_layers` takes RGB only.
    return layers
