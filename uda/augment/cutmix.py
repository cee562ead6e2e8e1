"""CutMix as a training augmentation: a box of each image shows another of the batch."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms import v2

from uda.augment.base import Augmentation, seeded


class CutMixAugmentation(Augmentation):
    """CutMix (arXiv 1905.04899).

    A box of a share 1 − λ of the area, λ from Beta(alpha, alpha), around a point drawn evenly and
    cut off at the border, shows the image before it in the batch, which is shuffled; targets are
    mixed by the areas. Drawn once a batch. ``alpha``: of the Beta distribution, positive. Raises
    ValueError naming it if it is not.
    """

    name = "cutmix"
    title = "CutMix"

    def __init__(self, *, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"augment.options.cutmix.alpha: {alpha} must be positive")
        self.mix = v2.CutMix(alpha=alpha)

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Each image with the box of its partner, and their targets by area."""
        with seeded(seed):
            mixed: tuple[Tensor, Tensor] = self.mix(images, targets)
        return mixed
