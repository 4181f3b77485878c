"""LeNet-5 (LeCun et al., Proc. IEEE 1998, fig. 2), with ReLU, max-pooling and a linear output."""

from collections import OrderedDict

from torch import nn

from models._width import scaled


def build(
    *, num_classes: int, in_channels: int, image_size: int, width: float = 1.0
) -> nn.Sequential:
    """Build a network of convolutions to 6 and 16 channels and hidden layers of 120 and 84 units.

    Smaller images are padded to the original's 32x32, so 28x28 and 32x32 both reach the first
    linear layer as 16 maps of 5x5: 61,470 weights for grey images and 10 classes.
    """
    c1, c2, f1, f2 = (scaled(size, width) for size in (6, 16, 120, 84))
    padding = max(0, 32 - image_size) // 2
    # Twice, a 5x5 convolution takes 4 px off and a pooling halves what is left.
    side = ((image_size + 2 * padding - 4) // 2 - 4) // 2
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, c1, 5, padding=padding),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(c1, c2, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(c2 * side**2, f1),
            relu3=nn.ReLU(),
            fc2=nn.Linear(f1, f2),
            relu4=nn.ReLU(),
            fc3=nn.Linear(f2, num_classes),
        )
    )
