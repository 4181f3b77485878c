"""LeNet-300-100 (LeCun et al., Proc. IEEE 1998), with ReLU: AutoS paper, appendix A.1."""

from collections import OrderedDict

from torch import nn

from models._width import scaled


def build(
    *, num_classes: int, in_channels: int, image_size: int, width: float = 1.0
) -> nn.Sequential:
    """Build a network of two hidden layers, with biases.

    It has 266,200 weights for 28x28 grey images and 10 classes.
    """
    first, second = scaled(300, width), scaled(100, width)
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(in_channels * image_size**2, first),
            relu1=nn.ReLU(),
            fc2=nn.Linear(first, second),
            relu2=nn.ReLU(),
            fc3=nn.Linear(second, num_classes),
        )
    )
