"""torchvision's MobileNetV2 (Sandler et al., CVPR 2018, table 2), with strides for small images."""

from torch import nn

# Expansion, channels, blocks and stride of each stage; the paper has stride 2 in the second row.
STAGES = [
    [1, 16, 1, 1],
    [6, 24, 2, 1],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
]


def build(*, num_classes: int, in_channels: int, image_size: int, width: float = 1.0) -> nn.Module:
    """Build a MobileNetV2 that divides the image side by 8 in place of 32.

    The stem and the first stage with stride 2 have stride 1, as is usual on CIFAR; there is no
    dropout, which would make scores random. The network takes images of any size, and has 2.24 M
    parameters for 10 classes. Channels are multiples of 8 at any width, and the last layer is never
    narrower than 1280, as in the paper.
    """
    from torchvision.models import MobileNetV2  # It takes seconds to import.

    model = MobileNetV2(num_classes, width, inverted_residual_setting=STAGES, dropout=0.0)
    stem = model.features[0]
    stem[0] = nn.Conv2d(in_channels, stem[0].out_channels, 3, padding=1, bias=False)
    return model
