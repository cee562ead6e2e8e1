"""The fractals that an augmentation mixes in: drawn, or of a folder."""

from __future__ import annotations

from torch import Tensor

from genmix_aug.images import find_images
from genmix_aug.mixing.fractal_folder import load_fractals
from genmix_aug.mixing.fractals import draw_fractals as drawn_fractals
from uda.runs.hashing import config_hash, file_hash


def fractal_pictures(folder: str, count: int, size: int) -> Tensor:
    """uint8 [F, 3, size, size]: those of ``folder``, or where none is named ``count`` drawn ones.

    Raises ValueError where the folder is missing or has no picture.
    """
    return load_fractals(folder, size) if folder else drawn_fractals(count, size)


def fractal_identity(folder: str) -> dict[str, str]:
    """What stands for the option ``fractals`` in a run's identity: what is in the folder."""
    if not folder:
        return {}
    return {"fractals": config_hash({"files": [file_hash(path) for path in find_images(folder)]})}
