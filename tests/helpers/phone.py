"""Pictures as phones store them: on their side, with a tag by which viewers turn them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

SIDEWAYS = 6  # the tag of a phone that is held upright


def save_tagged(path: Path, picture: Image.Image, orientation: int = SIDEWAYS) -> None:
    """Write ``picture`` as it is, with a tag of an orientation."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    picture.save(path, exif=exif)


def tag(path: Path, orientation: int = SIDEWAYS) -> None:
    """Give an image file a tag of an orientation; its pixels stay."""
    with Image.open(path) as picture:
        picture.load()
    save_tagged(path, picture, orientation)


def noise(height: int = 4, width: int = 6) -> Image.Image:
    """Return a picture without any symmetry."""
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)
