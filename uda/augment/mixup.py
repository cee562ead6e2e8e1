"""Mixup as a training augmentation: images and targets of a batch are averaged in pairs."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms import v2

from uda.augment.base import Augmentation, seeded


class MixupAugmentation(Augmentation):
    """Mixup (arXiv 1710.09412).

    λ x + (1 − λ) x' of images and targets alike, λ from Beta(alpha, alpha), where x' is the image
    before x in the batch, which is shuffled; λ is drawn once a batch. ``alpha``: of the Beta
    distribution, positive. Raises ValueError naming it if it is not.
    """

    name = "mixup"
    title = "Mixup"

    def __init__(self, *, alpha: float = 0.2) -> None:
        if not alpha > 0:
            raise ValueError(f"augment.options.mixup.alpha: {alpha} must be positive")
        self.mix = v2.MixUp(alpha=alpha)

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The weighted means of each image and its partner, and of their targets."""
        with seeded(seed):
            mixed: tuple[Tensor, Tensor] = self.mix(images, targets)
        return mixed
