"""Transforms of single images, those of torchvision among them, as training augmentations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from uda.augment.base import Augmentation, seeded

GREY = 128  # what geometric operations leave empty, as in AutoAugment's and RandAugment's code


class EachImage(Augmentation):
    """A ``transform`` of every image drawn, from uint8 [3, H, W] to the same.

    As in the papers of such transforms, no plain copies stand beside it. What the transform draws
    from torch's generator comes from each image's seed.
    """

    every_image = True
    transform: Callable[[Tensor], Tensor]

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Return each image transformed by its seed."""
        return transformed(images, seeds, self.transform)


def transformed(
    images: Tensor, seeds: Sequence[int], transform: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return ``transform`` of each image [3, H, W], which draws by the image's seed."""
    results = []
    for image, seed in zip(images, seeds, strict=True):
        with seeded(seed):
            results.append(transform(image))
    return torch.stack(results)
