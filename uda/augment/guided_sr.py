"""Guided-SR as a training augmentation: blends images whose salient parts do not overlap.

Each pixel is mixed by how salient it is in either image.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uda.augment.base import Augmentation
from uda.augment.masks import mix_by_mask
from uda.augment.saliency import blur, normalised, spectral_residual


class GuidedSRAugmentation(Augmentation):
    """GuidedMixup (arXiv 2306.16612) guided by the spectral residual, the paper's Guided-SR.

    S are the images' saliency maps (`guiding_saliency`). Partners are neighbours in a cycle through
    the batch that `one_cycle` builds greedily of the distances ‖S_i − S_j‖. Pixels are mixed as
    m x + (1 − m) x' with m = S / (S + S'), targets by the mean of m. A batch is mixed with
    ``probability``, the authors' for Guided-SR; otherwise it stays as it is. Raises ValueError for
    a probability outside 0 to 1.
    """

    name = "guided_sr"
    title = "Guided-SR"
    mixes_batches = True

    def __init__(self, *, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(
                f"augment.options.guided_sr.probability: {probability} is not in 0 to 1"
            )
        self.probability = probability

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return each image blended with its partner, and their mixed targets."""
        if np.random.default_rng(seed).random() >= self.probability:
            return images, targets
        return blend_in_a_cycle(images, targets, guiding_saliency(images))


def blend_in_a_cycle(images: Tensor, targets: Tensor, saliency: Tensor) -> tuple[Tensor, Tensor]:
    """Return each image blended with its partner of `one_cycle`, and their mixed targets.

    Args:
        images: x, [B, 3, H, W].
        targets: [B, K].
        saliency: S, [B, H, W]. The mask is S / (S + S'), and a half where both are 0.
    """
    flat = saliency.flatten(1)
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    partners = torch.from_numpy(one_cycle(distances.cpu().numpy())).to(images.device)
    both = saliency + saliency[partners]
    mask = torch.where(both > 0, saliency / both, 0.5)
    return mix_by_mask(images, targets, partners, mask)


def guiding_saliency(images: Tensor) -> Tensor:
    """Return maps [B, H, W], each of sum 1, of ``images`` [B, 3, H, W] in [0, 1].

    They are the spectral residual as the authors' code has it: the mean over the spectrum repeats
    its border, A = √(|F|² + 1e-10), large pictures become 128 × 128, and the map, which is blurred
    already, is blurred once more.
    """
    residual = spectral_residual(images, padding="replicate", power_floor=1e-10, square=True)
    return normalised(blur(residual))


def one_cycle(distances: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return each row's partner, int64 [B]: a cycle through all rows of ``distances`` [B, B].

    It starts at the first of the two rows that are furthest apart, and goes on from each row to the
    furthest of those not yet met; the last returns to the start.
    """
    count = len(distances)
    partners = np.zeros(count, np.int64)
    left = np.array(distances, np.float64)
    np.fill_diagonal(left, -np.inf)
    start = row = int(left.argmax()) // count
    for _ in range(count - 1):
        left[:, row] = -np.inf
        partners[row] = left[row].argmax()
        row = int(partners[row])
    partners[row] = start
    return partners
