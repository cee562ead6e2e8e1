"""Pictures that the commands work on."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """Return three pictures in two folders: square, odd, and with a transparent ground."""
    images = tmp_path / "images"
    (images / "b").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (24, 24)), ("b/c.jpg", (17, 23))):
        pixels = np.kron(rng.integers(0, 256, (3, 3, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        Image.fromarray(pixels).resize(size).save(images / name)
    Image.new("RGBA", (20, 20), (255, 0, 0, 0)).save(images / "b" / "d.webp")
    (images / "b" / "notes.txt").write_text("not an image")
    return images


@pytest.fixture
def fractals(tmp_path):
    """Return the flag for a folder of a single small fractal; drawing them all takes seconds."""
    made = tmp_path / "fractals"
    made.mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(made / "noise.png")
    return ["--fractals", str(made)]
