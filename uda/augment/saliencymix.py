"""SaliencyMix as a training augmentation: each image shows the most salient patch of another."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from uda.augment.base import Augmentation
from uda.augment.masks import mix_by_mask, previous
from uda.augment.saliency import spectral_residual


class SaliencyMixAugmentation(Augmentation):
    """SaliencyMix (arXiv 2006.01791).

    As CutMix, but the box of a share 1 − λ of the area, λ from Beta(alpha, alpha), lies around the
    most salient pixel of the image that it is cut from, the previous image of the batch, and is cut
    off at the border; it is pasted where it was, and targets are mixed by its area. λ is drawn once
    a batch, a box for each image. (The released code takes a single image's box for the whole
    batch.) Saliency is the spectral residual (`uda.augment.saliency`); the authors took OpenCV's
    fine-grained saliency, which OpenCV's main packages lack. Raises ValueError naming the option at
    fault.
    """

    name = "saliencymix"
    title = "SaliencyMix"
    mixes_batches = True

    def __init__(self, *, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"augment.options.saliencymix.alpha: {alpha} must be positive")
        self.alpha = alpha

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return each image with its partner's patch, and their targets mixed by area."""
        share = np.random.default_rng(seed).beta(self.alpha, self.alpha)
        partners = previous(images)
        height, width = images.shape[-2:]
        side = math.sqrt(1 - share)
        peaks = spectral_residual(images).flatten(1).argmax(dim=1)[partners]
        rows = _around(peaks // width, int(side * height), height)
        columns = _around(peaks % width, int(side * width), width)
        mask = ~(rows[:, :, None] & columns[:, None, :])
        return mix_by_mask(images, targets, partners, mask)


def _around(centres: Tensor, size: int, length: int) -> Tensor:
    """Return bool [B, length]: the pixels within ``size`` // 2 of each of ``centres`` [B]."""
    pixel = torch.arange(length, device=centres.device)
    first, last = centres[:, None] - size // 2, centres[:, None] + size // 2
    return (first <= pixel) & (pixel < last)
