"""Time GenMix's mixing on a single core, against Eq. 3 and 4 in float64.

python scripts/bench/mixing.py [--rounds 25] [--sizes 256 512]

The ways of mixing take turns in each round and CPU time is measured, so that other jobs on the
machine matter little: the ratios, medians over the rounds, are what counts. All read the same
images. Batches are timed last: once they have freed large blocks of memory, the allocator would
serve the float64 arrays without asking the system for pages.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from genmix_aug.mixing.genmix import GenMix
from genmix_aug.mixing.masks import SIDES, blend_width_for
from genmix_aug.mixing.mix import PAPER_FRACTAL_WEIGHT, mix_seam

SINGLES, BYTES, FLOATS = 16, 64, 16  # images of a pass, single and in a batch
NAIVE = "Eq. 3 and 4, NumPy float64"
FUSED = "mix, one uint8 image at a time"

Ways = dict[str, tuple[Callable[[], object], int]]  # by name: a pass, and the images of a pass


def plain_mask(height: int, width: int, side: str, blend_width: int) -> np.ndarray:
    """Return the smooth mask, float64 [height, width, 1]."""
    across = side in ("left", "right")
    length = width if across else height
    ramp = np.clip((np.arange(length) + 0.5 - length / 2) / blend_width + 0.5, 0, 1)
    if side in ("left", "top"):
        ramp = ramp[::-1]
    mask = np.tile(ramp, (height, 1)) if across else np.tile(ramp[:, None], (1, width))
    return mask[:, :, None]


def naive(
    original: np.ndarray, edited: np.ndarray, fractal: np.ndarray, side: str, blend_width: int
) -> np.ndarray:
    """Return Eq. 3 and 4 of pictures uint8 [H, W, 3] that are cast to float64 first."""
    original, edited, fractal = (
        picture.astype(np.float64) for picture in (original, edited, fractal)
    )
    return naive_uncast(original, edited, fractal, side, blend_width)


def naive_uncast(
    original: np.ndarray, edited: np.ndarray, fractal: np.ndarray, side: str, blend_width: int
) -> np.ndarray:
    """Return the same of pictures that become float64 as the mask multiplies them."""
    height, width = original.shape[:2]
    mask = plain_mask(height, width, side, blend_width)
    hybrid = mask * edited + (1 - mask) * original
    blended = (1 - PAPER_FRACTAL_WEIGHT) * hybrid + PAPER_FRACTAL_WEIGHT * fractal
    return np.round(blended).astype(np.uint8)


def random_images(count: int, size: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, size, size), dtype=np.uint8))


def as_picture(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def sides_of(count: int) -> list[str]:
    return [SIDES[number % len(SIDES)] for number in range(count)]


def worst_difference(size: int) -> int:
    """Return the most grey levels between `mix` and the naive way, over sides and pixels."""
    width, worst = blend_width_for(size), 0
    images = zip(*(random_images(4, size, seed) for seed in range(3)), strict=True)
    for side, (first, second, noise) in zip(SIDES, images, strict=True):
        expected = naive(as_picture(first), as_picture(second), as_picture(noise), side, width)
        fast = as_picture(mix_seam(first, second, noise, side, width))
        worst = max(worst, int(np.abs(fast.astype(int) - expected).max()))
    return worst


def single_ways(size: int) -> Ways:
    """Return the ways that mix single uint8 images."""
    width = blend_width_for(size)
    original, edited, fractal = (random_images(SINGLES, size, seed) for seed in range(3))
    singles = list(zip(original, edited, fractal, sides_of(SINGLES), strict=True))
    pictures = [(*map(as_picture, single[:3]), single[3]) for single in singles]
    target = torch.empty_like(original[0])
    genmix = GenMix(fractal, width)

    def run_naive(render: Callable[..., np.ndarray]) -> None:
        for first, second, noise, side in pictures:
            render(first, second, noise, side, width)

    def run_fused() -> None:
        for first, second, noise, side in singles:
            mix_seam(first, second, noise, side, width)

    def run_drawn() -> None:
        for seed, (first, second, _, _) in enumerate(singles):
            genmix(first, second, seed)

    def run_copies() -> None:
        for first in original:
            target.copy_(first)

    return {
        NAIVE: (lambda: run_naive(naive), SINGLES),
        "the same, not cast beforehand": (lambda: run_naive(naive_uncast), SINGLES),
        FUSED: (run_fused, SINGLES),
        "GenMix, one at a time, with draws": (run_drawn, SINGLES),
        "copying an image, nothing else": (run_copies, SINGLES),
    }


def batch_ways(size: int) -> Ways:
    """Return the ways that mix batches, and single images to compare."""
    width, sides = blend_width_for(size), sides_of(BYTES)
    original, edited, fractal = (random_images(BYTES, size, seed) for seed in range(3))
    first_f, second_f, noise_f = (part[:FLOATS] / 255 for part in (original, edited, fractal))
    genmix = GenMix(fractal, width)

    def run_fused() -> None:
        for first, second, noise, side in zip(original, edited, fractal, sides, strict=True):
            mix_seam(first, second, noise, side, width)

    return {
        FUSED: (run_fused, BYTES),
        f"mix, {BYTES} uint8 images": (
            lambda: mix_seam(original, edited, fractal, sides, width),
            BYTES,
        ),
        f"GenMix, {BYTES} uint8, with draws": (
            lambda: genmix(original, edited, range(BYTES)),
            BYTES,
        ),
        f"mix, {FLOATS} float32 images": (
            lambda: mix_seam(first_f, second_f, noise_f, sides[:FLOATS], width),
            FLOATS,
        ),
    }


def show(title: str, ways: Ways, rounds: int) -> None:
    """Time the ways in turn and print a row for each, with its ratio to the first."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, (run, count) in ways.items():
            start = time.process_time()
            run()
            if number:  # the first round warms up
                taken[name].append((time.process_time() - start) / count)
    first = taken[next(iter(ways))]
    print(f"{title:<36}{'images/s':>9}{'ratio':>9}")
    for name, times in taken.items():
        ratio = statistics.median(slow / fast for slow, fast in zip(first, times, strict=True))
        print(f"{name:<36}{1 / statistics.median(times):>9,.0f}{ratio:>8,.1f}x")


def main() -> None:
    """Print the tables, and whether `mix` is within a grey level of the naive way."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=25, help="the median counts")
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="px of a side")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    for size in options.sizes:
        show(f"{size} px, one thread", single_ways(size), options.rounds)
        worst = worst_difference(size)
        if worst > 1:
            raise SystemExit(f"mix is {worst} grey levels from {NAIVE}")
        print(f"mix is within one grey level of the first row (largest difference: {worst})\n")
    for size in options.sizes:
        show(f"{size} px, one thread, batches", batch_ways(size), options.rounds)
        print()


if __name__ == "__main__":
    main()
