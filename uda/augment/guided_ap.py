"""Guided-AP as a training augmentation: blends images by where the loss is sensitive."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from uda.augment.base import Augmentation, Look
from uda.augment.guided_sr import blend_pairs
from uda.augment.saliency import TINY, blur


class GuidedAPAugmentation(Augmentation):
    """GuidedMixup (arXiv 2306.16612) guided by the loss's gradient, the paper's Guided-AP.

    As Guided-SR, with other saliency maps (`gradient_saliency`) and another ``probability``, the
    authors'. Raises ValueError for a probability outside 0 to 1.
    """

    name = "guided_ap"
    title = "Guided-AP"
    mixes_batches = True
    looks = True

    def __init__(self, *, probability: float = 0.8) -> None:
        if not 0 <= probability <= 1:
            raise ValueError(
                f"augment.options.guided_ap.probability: {probability} is not in 0 to 1"
            )
        self.probability = probability

    def mix_by_look(
        self, images: Tensor, targets: Tensor, seed: int, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return each image blended with its partner, and their mixed targets."""
        if np.random.default_rng(seed).random() >= self.probability:
            return images, targets
        return blend_pairs(images, targets, gradient_saliency(look.gradient(images, targets)))


def gradient_saliency(gradient: Tensor) -> Tensor:
    """Return maps [B, H, W], each of sum 1, of gradients [B, 3, H, W].

    The root of the mean of squares over the channels, blurred by a 7 × 7 Gaussian of σ 3.
    """
    saliency = blur(gradient.float().square().mean(dim=1).sqrt())
    saliency = saliency + TINY * saliency.amax(dim=(1, 2), keepdim=True).clamp_min(TINY)
    return saliency / saliency.sum(dim=(1, 2), keepdim=True)
