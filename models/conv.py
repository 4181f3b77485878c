"""Conv-2, -4 and -6 of the lottery ticket hypothesis (Frankle and Carbin, ICLR 2019, fig. 2)."""

from torch import nn

from models._width import scaled

CHANNELS = (64, 128, 256)
"""Number of channels of each pair of convolutions, at width 1."""


def build(
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    width: float = 1.0,
    depth: int,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Build 3x3 convolutions, with a max-pooling after every other, and two hidden layers.

    The hidden layers have 256 units each. For RGB images of 32 px and 10 classes Conv-4 has
    2,425,024 weights and Conv-6 2,261,184 (1.7 M in the paper, which its figure does not explain).

    Args:
        num_classes: Number of classes.
        in_channels: Number of channels of the images.
        image_size: Side of the images in pixels.
        width: Factor of the numbers of channels and of hidden units.
        depth: Number of convolutions: 2, 4 or 6.
        batch_norm: Whether a normalisation follows every convolution, as it does not in the paper.

    Raises:
        ValueError: Nothing is left of the image after the poolings.
    """
    side = image_size >> (depth // 2)
    if not side:
        least = 1 << (depth // 2)
        raise ValueError(f"images of {image_size} px are too small: at least {least} px are needed")
    layers: list[nn.Module] = []
    channels = in_channels
    for size in CHANNELS[: depth // 2]:
        for _ in range(2):
            before, channels = channels, scaled(size, width)
            layers.append(nn.Conv2d(before, channels, 3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(channels))
            layers.append(nn.ReLU())
        layers.append(nn.MaxPool2d(2))
    hidden = scaled(256, width)
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(channels * side**2, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, num_classes),
    )
