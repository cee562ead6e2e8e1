"""A tiny dataset, network and experiment that the tests of the loops share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw

DOMAINS = ("Plain", "Dark")
CLASSES = ("bar", "cross", "disc", "ring", "square")


def draw(name: str, rng: np.random.Generator, dark: bool, px: int) -> Image.Image:
    """Draw a picture of class ``name`` in random colour, position and size."""
    paper, pen = ((20, 25, 40), 110) if dark else ((255, 255, 255), 0)
    image = Image.new("RGB", (px, px), paper)
    canvas = ImageDraw.Draw(image)
    colour = tuple(int(v) for v in rng.integers(pen, pen + 140, 3))
    x, y = rng.integers(2, px // 4, 2).tolist()
    far = px - 2 - int(rng.integers(0, px // 6))
    if name == "bar":
        canvas.rectangle((x, px // 2 - 2, far, px // 2 + 2), fill=colour)
    elif name == "cross":
        canvas.line((x, y, far, far), fill=colour, width=3)
        canvas.line((x, far, far, y), fill=colour, width=3)
    elif name == "square":
        canvas.rectangle((x, x, far, far), fill=colour)
    else:
        canvas.ellipse(
            (x, x, far, far), outline=colour, width=3, fill=colour if name == "disc" else None
        )
    return image


def make_dataset(root: Path, per_class: int = 9, px: int = 32) -> Path:
    """Draw both domains under ``root`` and write their YAML file; return its path."""
    for number, domain in enumerate(DOMAINS):
        rng = np.random.default_rng(number)
        for name in CLASSES:
            folder = root / "pictures" / domain / name
            folder.mkdir(parents=True)
            for i in range(per_class):
                draw(name, rng, domain == "Dark", px).save(folder / f"{i:02d}.png")
    spec = {
        "title": "Tiny",
        "root": str(root / "pictures"),
        "domains": {name: name for name in DOMAINS},
        "abbreviations": {"Plain": "Pl", "Dark": "Da"},
        "classes": list(CLASSES),
        "scenarios": {
            "opda": {"shared": [0, 2], "source_private": [2, 3], "target_private": [3, 5]},
            "osda": {"shared": [0, 3], "target_private": [3, 5]},
            "pda": {"shared": [0, 3], "source_private": [3, 5]},
        },
    }
    path = root / "tiny.yaml"
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


def arguments(dataset: Path, runs: Path, *more: str) -> list[str]:
    """Return flags of an experiment on the tiny dataset that takes a second or two."""
    flags = {
        "data.dataset": dataset,
        "data.source": "Plain",
        "data.scenario": "opda",
        "images.decode_px": 32,
        "images.resize_px": 32,
        "images.crop_px": 28,
        "model.backbone": "timm:test_efficientnet",
        "model.weights": "none",
        "model.bottleneck_dim": 16,
        "train.steps": 6,
        "train.batch_size": 8,
        "augment.options.genmix": "{num_fractals: 2, edits_per_image: 2}",
        "adapt.epochs": 2,
        "adapt.batch_size": 8,
        "adapt.options.lead": "{clusters: features}",
        "runs": runs,
        "store": runs.parent / "edits",
        "device": "cpu",
        "threads": 1,
    }
    return [f"--{key}={value}" for key, value in flags.items()] + list(more)
