"""SmoothMix as a training augmentation: another image shows through a soft round spot."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from uda.augment.base import Augmentation
from uda.augment.masks import mix_by_mask, previous


class SmoothMixAugmentation(Augmentation):
    """SmoothMix (CVPR Workshops 2020).

    Each image x becomes (1 − G) x + G x', where x' is the image before it in the batch and G a
    Gaussian spot (`gaussian_spot`); targets are mixed by the mean of G. The spot's centre is drawn
    evenly over the image, σ evenly from ``smallest`` to ``largest`` times the shorter side, both
    once a batch. A batch is mixed with ``probability``; otherwise it stays as it is. Raises
    ValueError naming the options at fault.
    """

    name = "smoothmix"
    title = "SmoothMix"
    mixes_batches = True

    def __init__(
        self, *, smallest: float = 0.25, largest: float = 0.5, probability: float = 1.0
    ) -> None:
        where = "augment.options.smoothmix"
        if not 0 < smallest <= largest:
            raise ValueError(
                f"{where}: smallest {smallest} and largest {largest} must be "
                "0 < smallest <= largest"
            )
        if not 0 <= probability <= 1:
            raise ValueError(f"{where}.probability: {probability} is not in 0 to 1")
        self.smallest = smallest
        self.largest = largest
        self.probability = probability

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return each image with its partner in a soft spot, and targets mixed by its mean."""
        rng = np.random.default_rng(seed)
        if rng.random() >= self.probability:
            return images, targets
        height, width = images.shape[-2:]
        centre = rng.uniform(0, height), rng.uniform(0, width)
        sigma = rng.uniform(self.smallest, self.largest) * min(height, width)
        mask = 1 - gaussian_spot(height, width, centre, sigma)
        return mix_by_mask(images, targets, previous(images), mask[None])


def gaussian_spot(height: int, width: int, centre: tuple[float, float], sigma: float) -> Tensor:
    """Return exp(−d² / 2σ²), [height, width], of each pixel's distance d from ``centre``.

    ``centre`` is (down, across) in px from the image's corner.
    """
    down = torch.arange(height) + 0.5 - centre[0]
    across = torch.arange(width) + 0.5 - centre[1]
    return torch.exp(-(down[:, None] ** 2 + across[None, :] ** 2) / (2 * sigma**2))
