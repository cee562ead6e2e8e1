"""Looks at a network that are computed without one, or of one built for a test."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from uda.augment.look import Look


class MadeLook(Look):
    """Sees images by a formula: each by itself, and like a network's gradients tiny."""

    def __init__(self, scale: float = 1e-6) -> None:
        self.scale = scale
        self.seen: list[str] = []

    @property
    def mean_colour(self) -> Tensor:
        return torch.tensor([0.5, 0.4, 0.3])

    def gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        self.seen.append("gradient")
        weights = targets.argmax(dim=1)[:, None, None, None] + 1.0
        return self.scale * (weights * images - 0.3) ** 3

    def class_maps(self, images: Tensor, targets: Tensor) -> Tensor:
        self.seen.append("class_maps")
        return F.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), (4, 3))[:, 0] - 0.2


class FixedLook(Look):
    """Sees what it is given."""

    def __init__(self, gradient: Tensor | None = None, maps: Tensor | None = None) -> None:
        self._gradient, self._maps = gradient, maps

    @property
    def mean_colour(self) -> Tensor:
        return torch.tensor([0.5, 0.4, 0.3])

    def gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        assert self._gradient is not None
        return self._gradient

    def class_maps(self, images: Tensor, targets: Tensor) -> Tensor:
        assert self._maps is not None
        return self._maps
