"""FMix as a training augmentation: parts of random shapes of each image show another."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uda.augment.base import Augmentation
from uda.augment.masks import mix_by_mask, previous


class FMixAugmentation(Augmentation):
    """FMix (arXiv 2002.12047).

    A share λ of each image's pixels, from Beta(alpha, alpha), stays; the others are those of the
    image before it in the batch, and targets are mixed alike. The pixels that stay are those where
    a random picture of low frequencies (`low_frequencies`, of ``decay``) is largest. Both are drawn
    once a batch. Raises ValueError naming the option at fault.
    """

    name = "fmix"
    title = "FMix"
    mixes_batches = True

    def __init__(self, *, alpha: float = 1.0, decay: float = 3.0) -> None:
        if not alpha > 0:
            raise ValueError(f"augment.options.fmix.alpha: {alpha} must be positive")
        if not decay >= 0:
            raise ValueError(f"augment.options.fmix.decay: {decay} must not be negative")
        self.alpha = alpha
        self.decay = decay

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return each image with its partner's pixels outside the mask, and mixed targets."""
        rng = np.random.default_rng(seed)
        share = rng.beta(self.alpha, self.alpha)
        height, width = images.shape[-2:]
        mask = largest(low_frequencies(height, width, self.decay, rng), share)
        return mix_by_mask(images, targets, previous(images), torch.from_numpy(mask)[None])


def low_frequencies(
    height: int, width: int, decay: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return a random grey picture [height, width] of low frequencies.

    It is the real part of the inverse Fourier transform of Gaussian noise divided by
    frequency^``decay``, where frequencies are at least 1 / max(height, width).
    """
    across, down = np.fft.rfftfreq(width), np.fft.fftfreq(height)[:, None]
    frequency = np.maximum(np.hypot(across, down), 1 / max(height, width))
    noise = rng.standard_normal((2, *frequency.shape))
    return np.fft.irfft2((noise[0] + 1j * noise[1]) / frequency**decay, s=(height, width))


def largest(picture: NDArray[np.float64], share: float) -> NDArray[np.float32]:
    """Return a mask: 1 at the ``share`` (rounded) of the pixels that are largest, else 0."""
    count = round(share * picture.size)
    mask = np.zeros(picture.size, np.float32)
    mask[np.argsort(-picture, axis=None, kind="stable")[:count]] = 1
    return mask.reshape(picture.shape)
