"""Where the result shows the edited image: the smooth masks of GenMix, and CutMix's box."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

SIDES = ("left", "right", "top", "bottom")


def blend_width_for(size: int) -> int:
    """Return the paper's blend width, 20 px of 512, scaled to images of `size` px; at least 1."""
    return max(1, round(20 / 512 * size))


def seam(length: int, blend_width: int) -> tuple[int, int]:
    """Return the pixels [start, stop) along an axis of `length` px that the ramp mixes.

    Before `start` the mask is exactly 0 or 1, from `stop` on exactly the other. Empty for an
    even length and no blend width.

    Raises:
        ValueError: `length` is not positive, or `blend_width` is negative or exceeds it.
    """
    if length < 1:
        raise ValueError(f"an image side must be at least 1 px, not {length}")
    if not 0 <= blend_width <= length:
        raise ValueError(
            f"blend width {blend_width} px does not fit an image side of {length} px: "
            f"choose 0 to {length} (the paper's, scaled to the size, is {blend_width_for(length)})"
        )
    # Pixel centres lie at x + 1/2; those strictly inside the ramp are mixed.
    start = (length - blend_width) // 2
    return start, length - start


def ramp(length: int, blend_width: int) -> Tensor:
    """Return the mask's profile along an axis, float32 [length], rising from 0 to 1.

    Linear over `blend_width` px about the middle, sampled at pixel centres, so that it and its
    mirror image sum to 1. Without a blend width it is a step; the middle pixel of an odd
    length is then 1/2.

    Raises:
        ValueError: As `seam`.
    """
    seam(length, blend_width)
    from_middle = torch.arange(length, dtype=torch.float64) + 0.5 - length / 2
    if blend_width == 0:
        return ((from_middle.sign() + 1) / 2).float()
    return (from_middle / blend_width + 0.5).clamp(0, 1).float()


def smooth_mask(height: int, width: int, side: str, blend_width: int = 20) -> Tensor:
    """Return the mask M of Eq. 3, float32 [height, width] in [0, 1]: 1 where the edit shows.

    Args:
        height: Of the image in px, odd or even.
        width: The same.
        side: Where the edited image shows: left, right, top or bottom.
        blend_width: Length in px of the linear ramp from 0 to 1, centred on the middle.

    Raises:
        ValueError: An unknown side, or a blend width that does not fit the image.
    """
    along_width = side_is_horizontal(side)
    profile = ramp(width if along_width else height, blend_width)
    if side in ("left", "top"):
        profile = profile.flip(0)
    shaped = profile[None, :] if along_width else profile[:, None]
    return shaped.expand(height, width).contiguous()


def side_is_horizontal(side: str) -> bool:
    """Return whether the mask of `side` varies along the width.

    Raises:
        ValueError: An unknown side.
    """
    if side not in SIDES:
        raise ValueError(f"unknown side {side!r}: choose one of {', '.join(SIDES)}")
    return side in ("left", "right")


class Box(NamedTuple):
    """The pixels of rows [top, bottom) and columns [left, right); empty where they do not rise."""

    top: int
    bottom: int
    left: int
    right: int


def cutmix_box(height: int, width: int, share: float, centre: tuple[float, float]) -> Box:
    """Return the box of CutMix (arXiv 1905.04899, Eq. 2) that the edited image fills.

    Its sides are sqrt(share) times those of the image (whole px, rounded down), so its area is
    `share` of the image's. Its centre is the pixel at `centre`; what lies outside is clipped.

    Args:
        height, width: The image's size in px.
        share: Of the image's area, in [0, 1]; drawn from Beta(1, 1), which is uniform.
        centre: Down and across, as shares in [0, 1] of height and width; drawn uniformly.

    Raises:
        ValueError: A share or a centre outside [0, 1].
    """
    if not all(0 <= value <= 1 for value in (share, *centre)):
        raise ValueError(f"share and centre of a box must be in [0, 1], not {share} and {centre}")
    edges: list[int] = []
    for length, middle in zip((height, width), centre, strict=True):
        cut = int(length * math.sqrt(share))
        start = min(int(length * middle), length - 1) - cut // 2
        edges += [max(start, 0), min(start + cut, length)]
    return Box(*edges)


def box_mask(height: int, width: int, box: Box) -> Tensor:
    """Return the mask of Eq. 3 that is 1 in the box and 0 elsewhere, float32 [height, width]."""
    mask = torch.zeros(height, width)
    mask[box.top : box.bottom, box.left : box.right] = 1
    return mask
