"""torchvision's ResNets (He et al., CVPR 2016, table 1) with a stem for small images."""

from torch import nn


def build(
    *, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: int
) -> nn.Module:
    """Build a ResNet-18 or -50 whose stem is a 3x3 convolution of stride 1, without max-pooling.

    It takes images of any size. The table in the AutoS paper (appendix A.1) cannot be run as
    printed: its stem and two more layers have stride 2. The paper's text and released code say what
    is done here, with 11,164,352 weights for ResNet-18, colour images and 10 classes.

    Raises:
        ValueError: A width other than 1 is asked for.
    """
    if width != 1:
        raise ValueError(f"width {width:g} is not supported: torchvision fixes the channels")
    import torchvision  # It takes seconds to import.

    model: nn.Module = torchvision.models.get_model(f"resnet{depth}", num_classes=num_classes)
    model.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model
