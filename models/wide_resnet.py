"""Wide residual networks (Zagoruyko and Komodakis, BMVC 2016, table 1), without dropout."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from models._width import scaled


def build(
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    width: float = 1.0,
    depth: int,
    widen: int,
) -> nn.Sequential:
    """Build a WRN-`depth`-`widen` with `depth` = 6n + 4 layers, which takes images of any size.

    WRN-28-2 has 1.47 M parameters. `width` also narrows the first layer, which `widen` does not
    change.
    """
    blocks = (depth - 4) // 6
    stem, c1, c2, c3 = (scaled(c, width) for c in (16, 16 * widen, 32 * widen, 64 * widen))
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, stem, 3, padding=1, bias=False),
            stage1=_stage(stem, c1, stride=1, blocks=blocks),
            stage2=_stage(c1, c2, stride=2, blocks=blocks),
            stage3=_stage(c2, c3, stride=2, blocks=blocks),
            bn=nn.BatchNorm2d(c3),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(c3, num_classes),
        )
    )


def _stage(in_channels: int, channels: int, *, stride: int, blocks: int) -> nn.Sequential:
    rest = (Block(channels, channels, stride=1) for _ in range(blocks - 1))
    return nn.Sequential(Block(in_channels, channels, stride=stride), *rest)


class Block(nn.Module):
    """Two 3x3 convolutions, each after normalisation and ReLU; a 1x1 shortcut where shapes change.

    As in the authors' code, the 1x1 convolution starts from the activated input.
    """

    def __init__(self, in_channels: int, channels: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = (
            nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False)
            if stride > 1 or in_channels != channels
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, in_channels, s, s] to [n, channels, ceil(s / stride), ceil(s / stride)]."""
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.shortcut is None else self.shortcut(active))
