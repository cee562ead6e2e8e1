"""Where a picture draws the eye, by its spectrum."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LARGEST_PX = 128  # larger pictures are reduced: finer detail is not looked at
BOX_PX = 3  # of the spectrum's local mean
BLUR_PX, BLUR_SIGMA = 7, 3.0  # of the map
TINY = 1e-8


@torch.no_grad()
def spectral_residual(
    images: Tensor, *, padding: str = "circular", power_floor: float = 0.0, square: bool = False
) -> Tensor:
    """Return the saliency [B, H, W], positive, of ``images`` [B, 3, H, W] in [0, 1].

    Hou and Zhang's spectral residual (CVPR 2007), with the sizes of GuidedMixup (arXiv 2306.16612):
    of the grey picture's Fourier transform A exp(iP), R = log A − (mean of log A over 3 × 3
    frequencies), the map is |F⁻¹(exp(R + iP))| blurred by a 7 × 7 Gaussian of σ 3.

    Args:
        images: The pictures.
        padding: Of the mean at the spectrum's border: "circular", as frequencies go around, or
            another mode of `torch.nn.functional.pad`. The spectrum is not shifted, so its lowest
            frequencies lie in a corner.
        power_floor: Added to A² before the root; 0 adds 1e-8 to A instead.
        square: Whether pictures over 128 px are reduced to 128 × 128, whatever their proportions.
    """
    from torchvision.transforms.v2.functional import rgb_to_grayscale  # takes a second to import

    grey = rgb_to_grayscale(images.float())[:, 0]
    size = grey.shape[-2:]
    if max(size) > LARGEST_PX:
        scaled = [max(1, round(length * LARGEST_PX / max(size))) for length in size]
        grey = _resize(grey, [LARGEST_PX, LARGEST_PX] if square else scaled)
    spectrum = torch.fft.fft2(grey)
    amplitude = spectrum.abs()
    amplitude = (amplitude.square() + power_floor).sqrt() if power_floor else amplitude + TINY
    log = amplitude.log()
    mean = F.avg_pool2d(F.pad(log[:, None], [BOX_PX // 2] * 4, mode=padding), BOX_PX, 1)[:, 0]
    response = torch.fft.ifft2(spectrum / amplitude * (log - mean).exp()).abs()
    saliency = blur(response)
    if saliency.shape[-2:] != size:
        saliency = _resize(saliency, list(size))
    return saliency.clamp_min(0) + TINY


def _resize(maps: Tensor, size: list[int]) -> Tensor:
    return F.interpolate(maps[:, None], size, mode="bilinear", antialias=True)[:, 0]


def blur(maps: Tensor) -> Tensor:
    """Return ``maps`` [B, H, W] blurred by a 7 × 7 Gaussian of σ 3.

    Rows come first, then columns; the border is reflected where the maps are large enough.
    """
    offset = torch.arange(BLUR_PX, device=maps.device) - BLUR_PX // 2
    weights = torch.exp(-0.5 * (offset / BLUR_SIGMA) ** 2)
    weights = weights / weights.sum()
    border = BLUR_PX // 2
    mode = "reflect" if min(maps.shape[-2:]) > border else "replicate"
    padded = F.pad(maps[:, None], [border] * 4, mode=mode)
    across = F.conv2d(padded, weights.view(1, 1, 1, -1))
    return F.conv2d(across, weights.view(1, 1, -1, 1))[:, 0]


def gradient_saliency(gradient: Tensor) -> Tensor:
    """Return maps [B, H, W], the largest value of each 1: √(mean of g² over the colours).

    Args:
        gradient: g, [B, 3, H, W]. A map of a zero gradient is zero.
    """
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled = gradient.float() / largest.clamp_min(torch.finfo(torch.float32).tiny)
    maps = scaled.square().mean(dim=1).sqrt()  # the squares of small gradients would be 0
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def normalised(maps: Tensor) -> Tensor:
    """Return ``maps`` [B, h, w], none negative, divided by their sums; zero maps become even."""
    total = maps.sum(dim=(1, 2), keepdim=True)
    even = 1 / (maps.shape[1] * maps.shape[2])
    return torch.where(total > 0, maps / total.clamp_min(torch.finfo(maps.dtype).tiny), even)
