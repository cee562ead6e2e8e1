"""The fractals that an augmentation mixes in: drawn, or of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genmix_aug.images import find_images
from genmix_aug.mixing.fractal_folder import load_fractals
from genmix_aug.mixing.fractals import draw_fractals
from uda.augment.base import Augmentation
from uda.runs.hashing import config_hash, file_hash


def fractal_pictures(folder: str, count: int, size: int) -> Tensor:
    """Return fractals uint8 [F, 3, size, size]: a folder's, or ``count`` drawn ones.

    Args:
        folder: Its pictures are cut to squares and resized; empty draws fractals instead.
        count: Fractals to draw.
        size: Side in px.

    Raises:
        ValueError: The folder is missing or has no picture.
    """
    return load_fractals(folder, size) if folder else draw_fractals(count, size)


def fractal_identity(folder: str) -> dict[str, str]:
    """Return what replaces the option ``fractals`` in a run's identity: a hash of the folder."""
    if not folder:
        return {}
    return {"fractals": config_hash({"files": [file_hash(path) for path in find_images(folder)]})}


class FractalMixing(Augmentation):
    """Mixes every image drawn with fractals: ``num_fractals`` drawn ones, or a folder's.

    Raises ValueError for a number under 1.
    """

    prepares = True
    every_image = True
    mixing_set: Tensor  # [F, 3, S, S] in [0, 1]

    def __init__(self, num_fractals: int, fractals: str) -> None:
        if num_fractals < 1:
            raise ValueError(
                f"augment.options.{self.name}.num_fractals: {num_fractals} must be at least 1"
            )
        self.num_fractals = num_fractals
        self.fractals = fractals

    @property
    def identity(self) -> Mapping[str, str]:
        """A hash of the folder of fractals."""
        return fractal_identity(self.fractals)

    def prepare(
        self,
        images: Tensor,
        names: Sequence[str],
        store: Path,
        seed: int,
        device: torch.device | None = None,
    ) -> Mapping[str, Any]:
        """Draw or load the fractals."""
        pictures = fractal_pictures(self.fractals, self.num_fractals, images.shape[-1])
        self.mixing_set = pictures.float() / 255
        return {}

    def mix_image(self, image: Tensor, seed: int) -> Tensor:
        """Return ``image``, uint8 [3, H, W], mixed by its seed."""
        raise NotImplementedError

    def images(self, images: Tensor, ids: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """Return each image mixed by its seed."""
        return torch.stack([self.mix_image(*pair) for pair in zip(images, seeds, strict=True)])
