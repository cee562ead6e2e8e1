"""Pictures to take styles from."""

from __future__ import annotations

import functools
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image

from genmix_aug.digests import file_digest
from genmix_aug.editors.neural_style.blends import LEAST_STRENGTH
from genmix_aug.images import find_images, load_rgb, to_picture
from genmix_aug.seeding import hash_seed

STYLE_PX = 256  # the network looks at the middle of a picture at this size
KEPT = 256  # pictures in memory, 200 KB each


class StyleImages:
    """A picture, or a folder of pictures, of which prompt and seed draw one.

    Names and order do not matter, only what the files hold.

    Raises:
        ValueError: `path` does not exist or has no pictures, or a file cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise ValueError(f"style_images: {path} does not exist: give a picture or a folder")

    @functools.cached_property
    def files(self) -> dict[str, Path]:
        """A file for each different content, by its hash, sorted by it."""
        paths = find_images(self.path) if self.path.is_dir() else [self.path]
        return dict(sorted((file_digest(path), path) for path in paths))

    @property
    def digest(self) -> str:
        """A hash of all pictures, 16 hexadecimal digits."""
        return blake2b("".join(self.files).encode(), digest_size=8).hexdigest()

    def draw(self, prompt: str, seed: int) -> tuple[Image.Image, float]:
        """Return a square picture and a strength in [0.7, 1], drawn by prompt and seed."""
        rng = np.random.default_rng(hash_seed("neural_style picture", prompt, seed))
        path = list(self.files.values())[rng.integers(len(self.files))]
        return _square(path), rng.uniform(LEAST_STRENGTH, 1.0)


@functools.lru_cache(KEPT)
def _square(path: Path) -> Image.Image:
    """Return the middle square of a picture at 256 px.

    Raises:
        ValueError: The file is no picture.
    """
    picture = to_picture(load_rgb(path))
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    middle = picture.crop((left, top, left + side, top + side))
    return middle.resize((STYLE_PX, STYLE_PX), Image.Resampling.LANCZOS)
