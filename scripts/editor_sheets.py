"""Draw what the editors that need no GPU do: a sheet for each, a column for each prompt.

pip install scikit-image  # for three photographs
python scripts/editor_sheets.py data/emoji_home/Twemoji docs/figures
"""

from __future__ import annotations

import argparse
from pathlib import Path

import skimage.data
import torch
from PIL import Image
from torch import Tensor

from genmix_aug.contact_sheet import contact_sheet, save_png
from genmix_aug.editors import Editor, FilterEditor, NeuralStyleEditor
from genmix_aug.images import find_images, from_picture, load_rgb
from genmix_aug.prompts import PROMPT_SETS

PHOTOGRAPHS = ("chelsea", "coffee", "rocket")
PX, CELL_PX = 256, 80


def middle_square(photograph: Image.Image) -> Tensor:
    """Return the middle of a photograph as uint8 [3, 256, 256]."""
    side = min(photograph.size)
    left, top = (photograph.width - side) // 2, (photograph.height - side) // 2
    square = photograph.crop((left, top, left + side, top + side))
    return from_picture(square.resize((PX, PX), Image.Resampling.LANCZOS))


def sheet(editor: Editor, images: list[Tensor], names: list[str]) -> Image.Image:
    """Return a row for each image, edited under all prompts."""
    prompts = list(PROMPT_SETS["all"])
    rows = [
        [image, *editor.edit_each([image] * len(prompts), prompts, [1] * len(prompts))]
        for image in images
    ]
    return contact_sheet(rows, names, ["original", *prompts], CELL_PX)


def main() -> None:
    """Write editor_filters.png and editor_neural_style.png."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", help="pictures, in folders of their classes")
    parser.add_argument("out", type=Path, help="folder to write to")
    options = parser.parse_args()
    paths = find_images(options.folder)
    chosen = [paths[(2 * k + 1) * len(paths) // 12] for k in range(6)]
    photographs = [Image.fromarray(getattr(skimage.data, name)()) for name in PHOTOGRAPHS]
    images = [*map(load_rgb, chosen), *map(middle_square, photographs)]
    names = [*(path.parent.name for path in chosen), *PHOTOGRAPHS]
    editors: dict[str, Editor] = {"filters": FilterEditor(), "neural_style": NeuralStyleEditor()}
    for name, editor in editors.items():
        out = options.out / f"editor_{name}.png"
        drawn = sheet(editor, images, names)
        # 256 colours are enough for small pictures, at a third of the size.
        save_png(drawn.quantize(256, dither=Image.Dither.NONE), out)
        print(f"{out}: {len(images)} pictures")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
