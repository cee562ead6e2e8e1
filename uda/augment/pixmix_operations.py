"""The operations that PixMix and IPMix mix images with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

BILINEAR = transforms.InterpolationMode.BILINEAR


Operations = Mapping[str, Callable[[Tensor, float, int], Tensor]]


def operate(
    image: Tensor,
    severity: int,
    rng: np.random.Generator,
    operations: Operations | None = None,
) -> Tensor:
    """Return ``image``, uint8 [3, H, W], under one of ``operations``, PixMix's nine by default.

    Operation and strength are drawn evenly, the strength from 0.1 to ``severity`` of 10.
    """
    operations = OPERATIONS if operations is None else operations
    name = list(operations)[rng.integers(len(operations))]
    level = rng.uniform(0.1, severity) / 10
    sign = -1 if rng.random() < 0.5 else 1
    return operations[name](image, level, sign)


def _shear(image: Tensor, across: float, down: float) -> Tensor:
    degrees = [float(np.degrees(np.arctan(value))) for value in (across, down)]
    return transforms.affine(image, 0.0, [0, 0], 1.0, degrees, BILINEAR, center=[0.0, 0.0])


def _move(image: Tensor, across: int, down: int) -> Tensor:
    return transforms.affine(image, 0.0, [across, down], 1.0, [0.0, 0.0])


# (image, level in (0, 1], sign) -> image. Strengths are those of AugMix (arXiv 1912.02781);
# moving pixels leaves black.
OPERATIONS: Operations = {
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

# IPMix's: without autocontrast, and with two that have no strength.
IPMIX_OPERATIONS: Operations = {
    **{name: operation for name, operation in OPERATIONS.items() if name != "autocontrast"},
    "mirror": lambda image, level, sign: transforms.hflip(image),
    "invert": lambda image, level, sign: transforms.invert(image),
}
# Of IPMix on ImageNet, its corruption benchmark's among them.
IPMIX_ALL_OPERATIONS: Operations = {
    **IPMIX_OPERATIONS,
    "autocontrast": OPERATIONS["autocontrast"],
    "color": lambda image, level, sign: transforms.adjust_saturation(image, 0.1 + 1.8 * level),
    "contrast": lambda image, level, sign: transforms.adjust_contrast(image, 0.1 + 1.8 * level),
    "brightness": lambda image, level, sign: transforms.adjust_brightness(image, 0.1 + 1.8 * level),
    "sharpness": lambda image, level, sign: transforms.adjust_sharpness(image, 0.1 + 1.8 * level),
}
