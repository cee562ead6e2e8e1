"""The fifteen operations of searched policies, of strengths in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

CUTOUT_COLOUR = (125, 123, 114)


class Operation(NamedTuple):
    """What an operation does to an image uint8 [3, H, W], from its value at level 0 to that at 1.

    The sign of a ``signed`` one is drawn. As its range is symmetric, level 0.5 changes nothing.
    """

    low: float
    high: float
    apply: Callable[[Tensor, float], Tensor]
    signed: bool = False

    def value(self, level: float) -> float:
        """Return the value at ``level``, in [0, 1]."""
        return self.low + level * (self.high - self.low)


def operate(image: Tensor, name: str, level: float) -> Tensor:
    """Return ``image``, uint8 [3, H, W], under an operation of strength ``level`` in [0, 1].

    Signs and cutout's centre are drawn from torch's generator.
    """
    operation = OPERATIONS[name]
    value = operation.value(level)
    if operation.signed and torch.rand(()) < 0.5:
        value = -value
    return operation.apply(image, value)


def cutout(image: Tensor, px: float, centre: tuple[float, float]) -> Tensor:
    """Return ``image`` with a grey square of ``px`` around ``centre``, (x, y) in px.

    It begins at the whole px of c − px/2, or at the border, and its last px is the begin + px.
    """
    if px <= 0:
        return image
    x, y = (int(max(0.0, position - px / 2)) for position in centre)
    covered = image.clone()
    colour = torch.tensor(CUTOUT_COLOUR, dtype=image.dtype)[:, None, None]
    covered[:, y : int(y + px) + 1, x : int(x + px) + 1] = colour
    return covered


def _cutout(image: Tensor, share: float) -> Tensor:
    height, width = image.shape[-2:]
    x, y = (torch.rand(2) * torch.tensor([width, height])).tolist()
    return cutout(image, share * width, (x, y))


def _solarize(image: Tensor, threshold: float) -> Tensor:
    # torchvision refuses thresholds that no byte reaches.
    return image if threshold > 255 else transforms.solarize(image, threshold)


def _shear(image: Tensor, across: float, down: float) -> Tensor:
    degrees = [math.degrees(math.atan(value)) for value in (across, down)]
    return transforms.affine(image, 0.0, [0, 0], 1.0, degrees, center=[0.0, 0.0])


def _translate(image: Tensor, across: float, down: float) -> Tensor:
    height, width = image.shape[-2:]
    moved: list[float] = [-across * width, -down * height]
    return transforms.affine(image, 0.0, moved, 1.0, [0.0, 0.0])


# In the order of the tables' numbers. Moving pixels takes the nearest, and leaves black.
OPERATIONS: dict[str, Operation] = {
    "shear_x": Operation(-0.3, 0.3, lambda image, value: _shear(image, value, 0.0), True),
    "shear_y": Operation(-0.3, 0.3, lambda image, value: _shear(image, 0.0, value), True),
    "translate_x": Operation(-0.45, 0.45, lambda image, value: _translate(image, value, 0.0), True),
    "translate_y": Operation(-0.45, 0.45, lambda image, value: _translate(image, 0.0, value), True),
    "rotate": Operation(-30, 30, lambda image, value: transforms.rotate(image, value), True),
    "autocontrast": Operation(0, 1, lambda image, value: transforms.autocontrast(image)),
    "invert": Operation(0, 1, lambda image, value: transforms.invert(image)),
    "equalize": Operation(0, 1, lambda image, value: transforms.equalize(image)),
    "solarize": Operation(0, 256, _solarize),
    "posterize": Operation(4, 8, lambda image, value: transforms.posterize(image, int(value))),
    "contrast": Operation(0.1, 1.9, lambda image, value: transforms.adjust_contrast(image, value)),
    "color": Operation(0.1, 1.9, lambda image, value: transforms.adjust_saturation(image, value)),
    "brightness": Operation(
        0.1, 1.9, lambda image, value: transforms.adjust_brightness(image, value)
    ),
    "sharpness": Operation(
        0.1, 1.9, lambda image, value: transforms.adjust_sharpness(image, value)
    ),
    "cutout": Operation(0.0, 0.2, _cutout),
}
