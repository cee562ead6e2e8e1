"""No augmentation but the crops and flips that every run has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor


class NoAugmentation:
    """Leaves everything as it is."""

    copies = False

    @property
    def identity(self) -> dict[str, str]:
        """Nothing: it has no options."""
        return {}

    def prepare(self, images: Tensor, names: Sequence[str], store: Path, seed: int) -> None:
        """Nothing to prepare."""

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """The images as they are."""
        return images

    def batch(self, images: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The batch as it is."""
        return images, targets
