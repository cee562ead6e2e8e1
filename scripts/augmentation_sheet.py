"""Draw a contact sheet: a row for each picture, a column for each augmentation.

python scripts/augmentation_sheet.py data/emoji_home/Twemoji --out sheet.png [--images 6] [--seed 0]

Every row is drawn anew. The pictures are a batch to augmentations that mix batches: a picture's
partner is the row above, with Guided-SR and Guided-AP any row. Manifold Mixup mixes features, which
cannot be drawn. Mixup has alpha 1, and Guided-SR and Guided-AP mix always; other options are the
defaults. Guided-AP, SnapMix, PuzzleMix and Co-Mixup look at EfficientNet-lite0 with ImageNet's
weights, and a classifier that has not learnt yet.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from genmix_aug.contact_sheet import contact_sheet, save_png
from genmix_aug.images import find_images, load_rgb
from genmix_aug.seeding import hash_seed
from uda.augment import AUGMENTATIONS, title_of_augmentation
from uda.config import DEFAULT_COMPUTE
from uda.models.classifier import build_model
from uda.training.look import NetworkLook

NOT_DRAWN = ("none", "manifold_mixup")
# With the defaults too few rows would change visibly.
OPTIONS = {
    "mixup": {"alpha": 1.0},
    "guided_sr": {"probability": 1.0},
    "guided_ap": {"probability": 1.0},
}


def column(name: str, images: Tensor, names: list[str], store: Path, seed: int) -> Tensor:
    """Return ``images`` uint8 [N, 3, H, W] augmented."""
    augmentation = AUGMENTATIONS[name](**OPTIONS.get(name, {}))
    augmentation.prepare(images, names, store, seed)
    numbers = list(range(len(images)))
    seeds = [hash_seed(seed, name, number) for number in numbers]
    if augmentation.copies or augmentation.every_image:
        return augmentation.images(images, numbers, seeds)
    floats, targets = images.float() / 255, torch.eye(len(images))
    look = _look(len(images))
    rows = [augmentation.batch_by_look(floats, targets, seeds[k], look)[0][k] for k in numbers]
    return (torch.stack(rows) * 255).round().to(torch.uint8)


@cache
def _look(num_classes: int) -> NetworkLook:
    model = build_model("efficientnet_lite0", "imagenet", "linear", 0, num_classes)
    return NetworkLook(model, DEFAULT_COMPUTE)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", help="pictures, in folders of their classes or not")
    parser.add_argument("--out", required=True, help="a PNG")
    parser.add_argument("--images", type=int, default=6, help="how many, evenly from the folder")
    parser.add_argument("--px", type=int, default=128, help="size to augment at; the sheet has 80")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names, separated by commas")
    options = parser.parse_args()
    paths = find_images(options.folder)
    if not 0 < options.images <= len(paths):
        raise SystemExit(f"--images: {options.folder} has {len(paths)} pictures")
    drawn = [name for name in AUGMENTATIONS if name not in NOT_DRAWN]
    if options.only:
        drawn = options.only.split(",")
    if unknown := [name for name in drawn if name not in AUGMENTATIONS]:
        raise SystemExit(f"--only: {unknown[0]!r} is not one of {', '.join(AUGMENTATIONS)}")
    chosen = [
        paths[(2 * k + 1) * len(paths) // (2 * options.images)] for k in range(options.images)
    ]
    images = torch.stack([load_rgb(path, options.px) for path in chosen])
    names = [str(path) for path in chosen]
    with tempfile.TemporaryDirectory() as store:
        columns = [column(name, images, names, Path(store), options.seed) for name in drawn]
    rows = [list(row) for row in zip(images, *columns, strict=True)]
    titles = ["original", *(title_of_augmentation(name) for name in drawn)]
    sheet = contact_sheet(rows, [path.parent.name for path in chosen], titles, 80)
    # 256 colours are enough for small pictures, at a third of the size.
    save_png(sheet.quantize(256, dither=Image.Dither.NONE), options.out)
    print(f"{options.out}: {len(rows)} pictures, {len(drawn)} augmentations")


if __name__ == "__main__":
    main()
