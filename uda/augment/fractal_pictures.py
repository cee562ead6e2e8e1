"""The fractals that an augmentation mixes in: drawn, or of a folder."""

from __future__ import annotations

from torch import Tensor

from genmix_aug.images import find_images
from genmix_aug.mixing.fractal_folder import load_fractals
from genmix_aug.mixing.fractals import draw_fractals
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
