"""Crops of images, as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def centre_crop(images: Tensor, px: int) -> Tensor:
    """Return the middle [B, 3, px, px] of ``images`` [B, 3, H, W]."""
    top, left = (images.shape[-2] - px) // 2, (images.shape[-1] - px) // 2
    return images[..., top : top + px, left : left + px]


def fixed_views(height: int, width: int, px: int, count: int) -> list[tuple[int, int, bool]]:
    """Return top, left and whether to mirror of ``count`` crops of an image: 1, 2 or 6.

    The centre, its mirror image, and the four corners, two of them mirrored.
    """
    top, left = (height - px) // 2, (width - px) // 2
    bottom, right = height - px, width - px
    return [
        (top, left, False),
        (top, left, True),
        (0, 0, False),
        (0, right, True),
        (bottom, 0, True),
        (bottom, right, False),
    ][:count]


def draw_views(count: int, spare_px: int, flip: bool, seed: Sequence[int]) -> NDArray[np.int64]:
    """Draw top, left and whether to mirror, [count, 3], of a random crop of each image.

    A row depends on ``seed`` and its index alone: draw for an epoch, then index.

    Args:
        count: Number of images.
        spare_px: What a crop leaves of the image's side.
        flip: Whether half of the crops are mirrored.
        seed: A few integers.
    """
    rng = np.random.default_rng(list(seed))
    corners = rng.integers(0, spare_px + 1, (count, 2))
    mirrored = rng.integers(0, 2, count) * flip
    return np.column_stack([corners, mirrored])


def views(images: Tensor, px: int, draws: NDArray[np.int64]) -> Tensor:
    """Return crops [B, 3, px, px] of ``images`` [B, 3, H, W] by their rows of `draw_views`.

    They are channels-last, on the device of ``images``.
    """
    if images.device.type != "cpu":
        return gathered_views(images, px, torch.from_numpy(draws).to(images.device))
    # On a CPU a loop of slices takes two thirds of a gather's time.
    crops = torch.empty(
        (*images.shape[:2], px, px), dtype=images.dtype, memory_format=torch.channels_last
    )
    for crop, image, (top, left, mirror) in zip(crops, images, draws.tolist(), strict=True):
        view = image[:, top : top + px, left : left + px]
        crop.copy_(view.flip(-1) if mirror else view)
    return crops


def gathered_views(images: Tensor, px: int, draws: Tensor) -> Tensor:
    """Return `views` by a single gather, for devices on which each slice would be a launch."""
    top, left, mirror = draws.unbind(1)
    side = torch.arange(px, device=images.device)
    rows, columns = top[:, None] + side, left[:, None] + side
    columns = torch.where(mirror[:, None] > 0, columns.flip(1), columns)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return images[batch, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def to_float(images: Tensor, device: torch.device, channels_last: bool = True) -> Tensor:
    """Return uint8 [B, 3, H, W] as float32 in [0, 1] on ``device``, channels-last or contiguous.

    A frozen backbone's features, float32 [B, D, 1, 1], are returned as they are.
    """
    if images.is_floating_point():
        return images.to(device)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    # The layout changes while they are bytes, which moves a quarter of what floats would.
    return images.to(device).contiguous(memory_format=layout).float().div_(255)
