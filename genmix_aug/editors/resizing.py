"""Scaling images to the size that a network works at, and back."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

SIDE_MULTIPLE = 8  # px; a diffusion model has a latent for each
MIN_SIDE = 64


def working_size(
    height: int, width: int, resolution: int, multiple: int = SIDE_MULTIPLE
) -> tuple[int, int]:
    """Return height and width in px at which an image of `height` x `width` px is edited.

    The longer side becomes `resolution`, whether the image was larger or smaller. The aspect ratio
    stays, up to rounding to multiples of `multiple` px and to the 64 px that a side has at least.
    """
    longer = max(height, width)

    def scaled(side: int) -> int:
        multiples = int(side * resolution / longer / multiple + 0.5)
        return max(MIN_SIDE, multiple * multiples)

    return scaled(height), scaled(width)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Return images float [B, 3, H, W] in [0, 1] scaled to float [B, 3, height, width].

    Bicubic, antialiased where it shrinks; what overshoots is clipped.
    """
    if images.shape[2:] == (height, width):
        return images
    scaled = interpolate(images, (height, width), mode="bicubic", antialias=True)
    return scaled.clamp(0, 1)
