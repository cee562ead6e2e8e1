"""The five views of CMU's heads (arXiv 2007.07591), as the Transfer-Learning-Library has them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from torch import Tensor

from uda.augment.each_image import GREY, transformed

if TYPE_CHECKING:
    from torchvision.transforms import v2


def head_view(images: Tensor, number: int, px: int, seeds: Sequence[int]) -> Tensor:
    """Return view ``number`` (from 0) of whole images.

    Args:
        images: uint8 [B, 3, S, S].
        number: Of the head, modulo five.
        px: Side of a view.
        seeds: Of each image.

    Returns:
        uint8 [B, 3, px, px].
    """
    return transformed(images, seeds, _transforms(px)[number % 5])


@cache
def _transforms(px: int) -> list[v2.Compose]:
    from torchvision.transforms import v2  # takes a second to import

    fill = [GREY] * 3
    flip, grey = v2.RandomHorizontalFlip(), v2.RandomGrayscale(0.5)
    jitter = v2.ColorJitter(0.2, 0.2, 0.2, 0.2)
    turn = v2.RandomAffine(30, (0.1, 0.1), (0.9, 1.1), 0.2, fill=fill)
    lean = v2.RandomAffine(10, shear=0.1, fill=fill)
    tilt = v2.RandomPerspective(fill=fill)

    def corner(bottom: bool, right: bool) -> v2.Lambda:
        def crop(image: Tensor) -> Tensor:
            height, width = image.shape[-2:]
            top, left = (height - px) * bottom, (width - px) * right
            return image[..., top : top + px, left : left + px]

        return v2.Lambda(crop)

    return [
        v2.Compose([flip, turn, v2.CenterCrop(px), grey]),
        v2.Compose([flip, tilt, corner(False, False), jitter]),
        v2.Compose([flip, turn, corner(False, True), jitter]),
        v2.Compose([flip, lean, tilt, corner(True, False)]),
        v2.Compose([flip, tilt, corner(True, True), grey]),
    ]
