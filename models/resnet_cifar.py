"""ResNets for CIFAR (He et al., CVPR 2016, section 4.2): three stages of 16, 32, 64 channels."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from models._width import scaled


def build(
    *, num_classes: int, in_channels: int, image_size: int, width: float = 1.0, depth: int
) -> nn.Sequential:
    """Build a ResNet with `depth` = 6n + 2 layers, which takes images of any size.

    It has 0.27 M parameters at depth 20, 0.46 M at 32, and 0.85 M at 56.
    """
    blocks = (depth - 2) // 6
    c1, c2, c3 = (scaled(channels, width) for channels in (16, 32, 64))
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, c1, 3, padding=1, bias=False),
            bn=nn.BatchNorm2d(c1),
            relu=nn.ReLU(),
            stage1=_stage(c1, c1, stride=1, blocks=blocks),
            stage2=_stage(c1, c2, stride=2, blocks=blocks),
            stage3=_stage(c2, c3, stride=2, blocks=blocks),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(c3, num_classes),
        )
    )


def _stage(in_channels: int, channels: int, *, stride: int, blocks: int) -> nn.Sequential:
    rest = (Block(channels, channels, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(Block(in_channels, channels, stride=stride), *rest)


class Block(nn.Module):
    """Two 3x3 convolutions around a shortcut without parameters (option A of the paper)."""

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, in_channels, s, s] to [n, channels, ceil(s / stride), ceil(s / stride)]."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        strided = x[:, :, :: self.stride, :: self.stride]
        return F.relu(out + F.pad(strided, (0, 0, 0, 0, 0, self.new_channels)))
