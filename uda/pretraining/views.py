"""The random views of MoCo v2 and SimSiam."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from torch import Tensor

from uda.augment.each_image import transformed

if TYPE_CHECKING:
    from torchvision.transforms import v2

RECIPE_PX = 224  # side of the views for which the papers give the blur's width


def random_views(images: Tensor, px: int, flip: bool, seeds: Sequence[int]) -> Tensor:
    """Return a random view of each image, uint8 [B, 3, px, px].

    A crop of 20 to 100 % of the area; with probability 0.8 other brightness, contrast, saturation
    (±0.4) and hue (±0.1); grey with 0.2; blurred with 0.5, by 0.1 to 2 pixels of 224; mirrored.

    Args:
        images: uint8 [B, 3, H, W].
        px: Side of a view.
        flip: Whether half of the views are mirrored.
        seeds: Of each image; its view depends on nothing else.
    """
    return transformed(images, seeds, _transform(px, flip))


@cache
def _transform(px: int, flip: bool) -> v2.Compose:
    from torchvision.transforms import v2  # takes a second to import

    low, high = 0.1 * px / RECIPE_PX, 2 * px / RECIPE_PX
    blur = v2.GaussianBlur(2 * math.ceil(3 * high) + 1, (low, high))
    return v2.Compose(
        [
            v2.RandomResizedCrop(px, scale=(0.2, 1.0), antialias=True),
            v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([blur], p=0.5),
            v2.RandomHorizontalFlip(0.5 if flip else 0.0),
        ]
    )
