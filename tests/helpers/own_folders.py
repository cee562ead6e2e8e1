"""Two folders of pictures as a user of `uda run` has them."""

from __future__ import annotations

import shutil
from pathlib import Path

from helpers.tiny import CLASSES, make_dataset

RENAMED = {"bar": "BAR", "cross": "Cross ", "disc": "D-isc", "ring": "ri_ng", "square": "square"}


def make_folders(root: Path) -> tuple[Path, Path]:
    """Make a source of bar, cross, disc and a target of disc, ring, square under ``root``."""
    make_dataset(root, per_class=4)
    pictures = root / "pictures"
    source, target = root / "my drawings", root / "renders"
    for name in CLASSES[:3]:
        shutil.copytree(pictures / "Plain" / name, source / name)
    for name in CLASSES[2:]:
        shutil.copytree(pictures / "Dark" / name, target / RENAMED[name])
    return source, target
