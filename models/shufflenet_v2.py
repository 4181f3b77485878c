"""torchvision's ShuffleNetV2 (Ma et al., ECCV 2018, table 5), with strides for small images."""

from torch import nn

from models._width import scaled

CHANNELS = [48, 96, 192, 1024]
"""Of the three stages and of the last convolution, at the paper's width 0.5."""


def build(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> nn.Module:
    """ShuffleNetV2 0.5x that divides the image side by 8 in place of 32: 344,080 weights for RGB
    images and 10 classes.

    The stem has stride 1 and no pooling follows it, as is usual on CIFAR. Takes images of any size.
    `width` leaves the 24 channels of the stem.
    """
    from torchvision.models import ShuffleNetV2

    # Every block splits its channels into two halves.
    channels = [2 * scaled(c // 2, width) for c in CHANNELS]
    model = ShuffleNetV2([4, 8, 4], [24, *channels], num_classes)
    model.conv1[0] = nn.Conv2d(in_channels, 24, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model
