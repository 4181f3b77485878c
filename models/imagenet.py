"""torchvision's networks exactly as they are, so that weights trained on ImageNet fit them."""

from torch import nn


def build(
    *, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, name: str
) -> nn.Module:
    """Build the network that torchvision calls `name`, with a last layer for `num_classes`.

    Raises:
        ValueError: The images do not have three channels, or a width other than 1 is asked for.
    """
    if width != 1:
        raise ValueError(f"width {width:g} is not supported: torchvision fixes the channels")
    if in_channels != 3:
        raise ValueError(f"images have {in_channels} channel(s): ImageNet's networks take 3")
    import torchvision  # It takes seconds to import.

    model: nn.Module = torchvision.models.get_model(name, num_classes=num_classes)
    return model
