"""Mixup as a training augmentation: images and targets of a batch are averaged in pairs."""

from __future__ import annotations

from torch import Tensor

from uda.augment.base import Augmentation, seeded


class MixupAugmentation(Augmentation):
    """Mixup (arXiv 1710.09412).

    Images and targets alike become λ x + (1 − λ) x', where x' is the image before x in the batch,
    which is shuffled, and λ from Beta(alpha, alpha) is drawn once a batch. Raises ValueError if
    ``alpha`` is not positive.
    """

    name = "mixup"
    title = "Mixup"
    mixes_batches = True

    def __init__(self, *, alpha: float = 0.2) -> None:
        if not alpha > 0:
            raise ValueError(f"augment.options.mixup.alpha: {alpha} must be positive")
        from torchvision.transforms import v2  # takes a second to import

        self.mix = v2.MixUp(alpha=alpha)

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the weighted means of each image and its partner, and of their targets."""
        with seeded(seed):
            mixed: tuple[Tensor, Tensor] = self.mix(images, targets)
        return mixed
