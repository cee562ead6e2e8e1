"""Miniature trees that imitate the layouts of the published datasets: a few pictures a class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.tiny import CLASSES, draw

from uda.data.spec import load_dataset_spec

# What each dataset's folders and files are called as people unpack them.
LAYOUTS = {
    "office_home": {
        "RealWorld": "Real World",
        "Art": "Art",
        "Clipart": "Clipart",
        "Product": "Product",
    },
    "office_31": {"Amazon": "amazon/images", "Dslr": "dslr/images", "Webcam": "webcam/images"},
    "visda_c": {"Synthetic": "train", "Real": "validation"},
    "domainnet": {"Painting": "painting", "Real": "real", "Sketch": "sketch"},
}
SUFFIXES = {"office_31": ".JPG"}


def grow(
    root: Path, dataset: str, per_class: int = 2, px: int = 32, domains: int | None = None
) -> Path:
    """Draw the first ``domains`` of ``dataset`` (None: all) under ``root``; return ``root``."""
    spec = load_dataset_spec(dataset)
    for number, folder in enumerate(list(LAYOUTS[dataset].values())[:domains]):
        rng = np.random.default_rng(number)
        for k, name in enumerate(spec.classes):
            home = root / folder / name
            home.mkdir(parents=True)
            for i in range(per_class):
                picture = draw(CLASSES[k % len(CLASSES)], rng, number % 2 == 1, px)
                suffix = SUFFIXES.get(dataset, ".jpg")
                with open(home / f"{i:05d}{suffix}", "wb") as file:
                    picture.save(file, "JPEG")
        first = root / folder / spec.classes[0]
        (first / "Thumbs.db").write_bytes(b"not a picture")
        (first / "._00000.jpg").write_bytes(b"what a Mac leaves")
        (root / folder / ".DS_Store").write_bytes(b"")
    return root
