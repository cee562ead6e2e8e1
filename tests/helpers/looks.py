"""A stand-in for the network that augmentations look at: it goes by each image alone."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from uda.augment.base import Augmentation


class MadeUpLook:
    """Gradients are the image less its mean, class maps its brightness at half the size."""

    def gradient(self, images: Tensor, targets: Tensor) -> Tensor:
        """As `uda.augment.base.Look.gradient`."""
        return images - images.mean(dim=(1, 2, 3), keepdim=True)

    def class_maps(self, images: Tensor, targets: Tensor) -> Tensor:
        """As `uda.augment.base.Look.class_maps`."""
        return F.avg_pool2d(images.mean(dim=1, keepdim=True), 2, ceil_mode=True)[:, 0]


def mixed_batch(
    augmentation: Augmentation, images: Tensor, targets: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the batch as training mixes it."""
    if augmentation.looks:
        return augmentation.mix_by_look(images, targets, seed, MadeUpLook())
    return augmentation.batch(images, targets, seed)
