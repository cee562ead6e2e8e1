"""Pre-activation residual networks (He et al., arXiv 1603.05027) for small images."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PreActBlock(nn.Module):
    """A block x + conv(relu(bn(conv(relu(bn(x)))))), the paper's Figure 4 (e).

    Where stride or channels change, the shortcut is a 1 by 1 convolution of the first activation,
    as in the authors' code; elsewhere it is x itself.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = _conv3(channels_in, channels, stride)
        self.norm2 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3(channels, channels)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = torch.relu(self.norm1(x))
        shortcut = x if self.shortcut is None else self.shortcut(active)
        return shortcut + self.conv2(torch.relu(self.norm2(self.conv1(active))))


class PreActResNet18(nn.Module):
    """A network of four stages of two `PreActBlock`: images [B, 3, H, W] -> features [B, 512].

    ``stem_stride`` 1 keeps the size of 32 px images in the first stage, as on CIFAR; 2 halves that
    of 64 px images. The last stage then has 4 by 4 positions of both.
    """

    def __init__(self, stem_stride: int) -> None:
        super().__init__()
        self.stem = _conv3(3, 64, stem_stride)
        self.blocks = nn.Sequential(
            PreActBlock(64, 64, 1),
            PreActBlock(64, 64, 1),
            PreActBlock(64, 128, 2),
            PreActBlock(128, 128, 1),
            PreActBlock(128, 256, 2),
            PreActBlock(256, 256, 1),
            PreActBlock(256, 512, 2),
            PreActBlock(512, 512, 1),
        )
        self.feature_info = [{"module": f"blocks.{last}"} for last in (1, 3, 5, 7)]  # as timm's
        self.norm = nn.BatchNorm2d(512)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # arXiv 1502.01852, as in torchvision's ResNets
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(self.norm(self.blocks(self.stem(images)))).mean(dim=(2, 3))


def _conv3(channels_in: int, channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
