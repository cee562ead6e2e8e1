"""Guided-AP as a training augmentation: Guided-SR, guided by the network's gradient."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from uda.augment.guided_sr import blend_in_a_cycle
from uda.augment.look import Look, LookingAugmentation
from uda.augment.saliency import blur, gradient_saliency, normalised


class GuidedAPAugmentation(LookingAugmentation):
    """GuidedMixup (arXiv 2306.16612) guided by the gradient of the loss, the paper's Guided-AP.

    As `uda.augment.guided_sr` has it, but an image's saliency map is √(mean of g² over the
    colours), g being the gradient of its cross-entropy by the image, blurred by a 7 × 7 Gaussian of
    σ 3 and divided by its sum. A batch is mixed with ``probability``, the authors' for Guided-AP.
    """

    name = "guided_ap"
    title = "Guided-AP"

    def __init__(self, *, probability: float = 0.8) -> None:
        super().__init__(probability)

    def mix(
        self, images: Tensor, targets: Tensor, rng: np.random.Generator, look: Look
    ) -> tuple[Tensor, Tensor]:
        """Return each image blended with its partner, and their mixed targets."""
        saliency = guiding_gradient(look.gradient(images, targets))
        return blend_in_a_cycle(images, targets, saliency)


def guiding_gradient(gradient: Tensor) -> Tensor:
    """Return maps [B, H, W], each of sum 1, of a ``gradient`` [B, 3, H, W]."""
    return normalised(blur(gradient_saliency(gradient)))
