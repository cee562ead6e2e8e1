"""RandAugment as a training augmentation: each copy of an image by other operations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2

from uda.augment.base import seeded

GREY = 128  # what geometric operations leave empty, as in AutoAugment's and RandAugment's code


class RandAugmentation:
    """RandAugment (arXiv 1909.13719): ``num_ops`` operations, one after the other, each drawn from
    fourteen and of strength ``magnitude`` of 0 to 30.

    As GenMix, it makes augmented copies beside the originals. Raises ValueError naming the option
    at fault.
    """

    copies = True

    def __init__(self, *, num_ops: int = 2, magnitude: int = 9) -> None:
        if num_ops < 1:
            raise ValueError(f"augment.options.randaugment.num_ops: {num_ops} must be at least 1")
        if not 0 <= magnitude <= 30:
            raise ValueError(
                f"augment.options.randaugment.magnitude: {magnitude} is not in 0 to 30"
            )
        self.augment = v2.RandAugment(num_ops, magnitude, fill=[GREY] * 3)

    @property
    def identity(self) -> dict[str, str]:
        """Nothing: its options say it all."""
        return {}

    def prepare(self, images: Tensor, names: Sequence[str], store: Path, seed: int) -> None:
        """Nothing to prepare."""

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Each image by operations that its own seed draws."""
        return torch.stack([self._one(*pair) for pair in zip(images, seeds, strict=True)])

    def _one(self, image: Tensor, seed: int) -> Tensor:
        with seeded(seed):
            changed: Tensor = self.augment(image)
        return changed

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The batch as it is."""
        return images, targets
