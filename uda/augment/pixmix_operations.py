"""The nine operations that PixMix mixes images with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

BILINEAR = transforms.InterpolationMode.BILINEAR


def operate(image: Tensor, severity: int, rng: np.random.Generator) -> Tensor:
    """Return ``image``, uint8 [3, H, W], under one of the nine operations.

    Operation and strength are drawn evenly, the strength from 0.1 to ``severity`` of 10.
    """
    name = list(OPERATIONS)[rng.integers(len(OPERATIONS))]
    level = rng.uniform(0.1, severity) / 10
    sign = -1 if rng.random() < 0.5 else 1
    return OPERATIONS[name](image, level, sign)


def _shear(image: Tensor, across: float, down: float) -> Tensor:
    degrees = [float(np.degrees(np.arctan(value))) for value in (across, down)]
    return transforms.affine(image, 0.0, [0, 0], 1.0, degrees, BILINEAR, center=[0.0, 0.0])


def _move(image: Tensor, across: int, down: int) -> Tensor:
    return transforms.affine(image, 0.0, [across, down], 1.0, [0.0, 0.0])


# (image, level in (0, 1], sign) -> image. Strengths are those of AugMix (arXiv 1912.02781);
# moving pixels leaves black.
OPERATIONS: dict[str, Callable[[Tensor, float, int], Tensor]] = {
    "autocontrast": lambda image, level, sign: transforms.autocontrast(image),
    "equalize": lambda image, level, sign: transforms.equalize(image),
    "posterize": lambda image, level, sign: transforms.posterize(image, 4 - int(level * 4)),
    "rotate": lambda image, level, sign: transforms.rotate(image, sign * int(level * 30), BILINEAR),
    "solarize": lambda image, level, sign: transforms.solarize(image, 256 - int(level * 256)),
    "shear_x": lambda image, level, sign: _shear(image, sign * level * 0.3, 0.0),
    "shear_y": lambda image, level, sign: _shear(image, 0.0, sign * level * 0.3),
    "translate_x": lambda image, level, sign: _move(
        image, sign * int(level * image.shape[-1] / 3), 0
    ),
    "translate_y": lambda image, level, sign: _move(
        image, 0, sign * int(level * image.shape[-2] / 3)
    ),
}
