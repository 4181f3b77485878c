"""torchvision's ShuffleNetV2 (Ma et al., ECCV 2018, table 5), with strides for small images."""

from torch import nn

from models._width import scaled

CHANNELS = [48, 96, 192, 1024]
"""Channels of the three stages and of the last convolution, at the paper's width 0.5."""


def build(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> nn.Module:
    """Build a ShuffleNetV2 0.5x that divides the image side by 8 in place of 32.

    The stem has stride 1 and no pooling follows it, as is usual on CIFAR. The network takes images
    of any size, and has 344,080 weights for RGB images and 10 classes. The stem has 24 channels at
    any width.
    """
    from torchvision.models import ShuffleNetV2  # It takes seconds to import.

    # Every block splits its channels into two halves.
    channels = [2 * scaled(c // 2, width) for c in CHANNELS]
    model = ShuffleNetV2([4, 8, 4], [24, *channels], num_classes)
    model.conv1[0] = nn.Conv2d(in_channels, 24, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model
