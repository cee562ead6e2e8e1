"""CutMix as a training augmentation: a box of each image shows another of the batch."""

from __future__ import annotations

from torch import Tensor

from uda.augment.base import Augmentation, seeded


class CutMixAugmentation(Augmentation):
    """CutMix (arXiv 1905.04899).

    Each image shows, in a box, the image before it in the batch, which is shuffled. The box has a
    share 1 − λ of the area, λ from Beta(alpha, alpha), around a point drawn evenly, and is cut off
    at the border; targets are mixed by the areas. Both are drawn once a batch. Raises ValueError if
    ``alpha`` is not positive.
    """

    name = "cutmix"
    title = "CutMix"
    mixes_batches = True

    def __init__(self, *, alpha: float = 1.0) -> None:
        if not alpha > 0:
            raise ValueError(f"augment.options.cutmix.alpha: {alpha} must be positive")
        from torchvision.transforms import v2  # takes a second to import

        self.mix = v2.CutMix(alpha=alpha)

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return each image with the box of its partner, and their targets mixed by area."""
        with seeded(seed):
            mixed: tuple[Tensor, Tensor] = self.mix(images, targets)
        return mixed
