"""A miniature of Office-Home, and the flags of a small experiment on it."""

from __future__ import annotations

import numpy as np
from PIL import Image

from uda.data.spec import load_dataset_spec

LITTLE = [
    "--images.decode_px=32", "--images.resize_px=32", "--images.crop_px=28",
    "--model.backbone=timm:test_efficientnet", "--model.weights=none", "--train.steps=4",
    "--train.batch_size=8", "--adapt.epochs=1", "--adapt.batch_size=8", "--threads=1",
    "--device=cpu", "--augment.options.genmix={num_fractals: 2}",
    "--adapt.options.lead={clusters: features}",
]  # fmt: skip


def office_home(root):
    """Draw a miniature of Office-Home under ``root``: its folders, file names and mixed sizes."""
    rng = np.random.default_rng(0)
    for folder in ("Art", "Clipart", "Product", "Real World"):
        for name in load_dataset_spec("office_home").classes:
            class_folder = root / folder / name
            class_folder.mkdir(parents=True)
            for number in (1, 2):
                size = rng.integers(24, 60, 2)
                pixels = rng.integers(0, 255, (*size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(class_folder / f"{number:05d}.jpg")
        (root / "ImageInfo.csv").write_text("not a picture\n")
