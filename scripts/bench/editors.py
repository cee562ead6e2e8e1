"""Time the editors that need no GPU, prompt by prompt, in a single thread at 128 and 256 px.

python scripts/bench/editors.py [FOLDER OF IMAGES] [--repeats 5] [--style-images FOLDER]
"""

from __future__ import annotations

import argparse
import statistics
import time

import cv2
import numpy as np
import torch

from genmix_aug.editors import Editor, FilterEditor, NeuralStyleEditor
from genmix_aug.images import find_images, load_rgb
from genmix_aug.prompts import PROMPT_SETS

SIZES = (128, 256)


def drawn_images(count: int, size: int) -> torch.Tensor:
    """Draw a few antialiased shapes on white, like emoji: uint8 [count, 3, size, size]."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        canvas = np.full((size, size, 3), 255, np.uint8)
        for _ in range(6):
            centre = rng.uniform(0.3, 0.7, 2) * size
            axes = rng.uniform(0.08, 0.3, 2) * size
            colour = tuple(int(value) for value in rng.integers(0, 256, 3))
            box = (tuple(centre.tolist()), tuple((2 * axes).tolist()), float(rng.uniform(0, 180)))
            cv2.ellipse(canvas, box, colour, -1, cv2.LINE_AA)
        images.append(torch.from_numpy(canvas).permute(2, 0, 1))
    return torch.stack(images)


def read_images(folder: str, count: int, size: int) -> torch.Tensor:
    """Read images of a folder, scaled to squares: uint8 [count, 3, size, size]."""
    paths = find_images(folder)
    images = []
    for number in range(count):
        pixels = load_rgb(paths[number * len(paths) // count]).permute(1, 2, 0).numpy()
        scaled = cv2.resize(
            np.ascontiguousarray(pixels), (size, size), interpolation=cv2.INTER_AREA
        )
        images.append(torch.from_numpy(scaled).permute(2, 0, 1))
    return torch.stack(images)


def rate(editor: Editor, prompt: str, images: torch.Tensor, repeats: int) -> float:
    """Return images a second, the median of `repeats` passes after a warm-up."""
    seeds, prompts = list(range(len(images))), [prompt] * len(images)
    editor.edit(images, prompts, seeds)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        editor.edit(images, prompts, seeds)
        times.append(time.perf_counter() - start)
    return len(images) / statistics.median(times)


def main() -> None:
    """Print a table: a row for each prompt, a column for each editor and size."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("images", nargs="?", help="folder of images; drawn shapes without it")
    parser.add_argument("--count", type=int, default=16, help="images in a pass")
    parser.add_argument("--repeats", type=int, default=5, help="passes; the median counts")
    parser.add_argument("--style-images", help="time neural_style with these, too")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    editors: dict[str, Editor] = {"filters": FilterEditor(), "neural_style": NeuralStyleEditor()}
    if options.style_images:
        editors["its pictures"] = NeuralStyleEditor(style_images=options.style_images)
    columns: dict[str, list[float]] = {}
    for size in SIZES:
        if options.images:
            images = read_images(options.images, options.count, size)
        else:
            images = drawn_images(options.count, size)
        for name, editor in editors.items():
            columns[f"{name} {size} px"] = [
                rate(editor, prompt, images, options.repeats) for prompt in PROMPT_SETS["all"]
            ]
    print(f"{'images/s, one thread':<22}" + "".join(f"{name:>22}" for name in columns))
    for number, prompt in enumerate(PROMPT_SETS["all"]):
        print(f"{prompt:<22}" + "".join(f"{rates[number]:>22.0f}" for rates in columns.values()))
    medians = [statistics.median(rates) for rates in columns.values()]
    print(f"{'median':<22}" + "".join(f"{rate:>22.0f}" for rate in medians))


if __name__ == "__main__":
    main()
