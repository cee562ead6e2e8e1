"""Pictures on disk -> uint8 arrays: labelled and unlabelled views of a domain.

Pictures are decoded once, into memory or, past a limit, into a file. A target's view holds no
labels and no file names (folders are classes); `uda.evaluation.evaluate` alone asks for
`labels_of`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from genmix_aug.images import from_picture, load_rgb
from uda.compute.distributed import is_main
from uda.data.items import UNLABELLED, Item
from uda.data.pixel_cache import files_key, fits, reorder, room, stored

RESIZE_BATCH = 256


@dataclass(frozen=True)
class Labelled:
    """``images`` uint8 [N, 3, H, W], ``labels`` int64 [N] and ``names``, one a picture."""

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True)
class Unlabelled:
    """``images`` uint8 [N, 3, H, W] of a target domain, and nothing else."""

    images: Tensor


def labelled(
    items: Sequence[Item],
    number: dict[str, int],
    px: int,
    memory_gb: float = math.inf,
    cache: Path | str = "",
) -> Labelled:
    """Decode ``items`` to ``px`` squares, labelled by ``number`` (class name -> label).

    More than ``memory_gb`` GiB of pixels go into a file in the folder ``cache``.
    """
    return Labelled(
        decode_all(items, px, memory_gb, cache)[0],
        torch.from_numpy(labels_of(items, number)),
        tuple(f"{item.path.parent.name}/{item.path.name}" for item in items),
    )


def unlabelled(
    items: Sequence[Item], px: int, memory_gb: float = math.inf, cache: Path | str = ""
) -> tuple[Unlabelled, list[Item]]:
    """Decode ``items`` to ``px`` squares and forget what they are; also the items in their order.

    The order is by a hash of the pixels: in the folders' order, class after class, the place of a
    picture would tell its class. More than ``memory_gb`` GiB of pixels go into a file in the folder
    ``cache``.
    """
    images, order = decode_all(items, px, memory_gb, cache, by_pixels=True)
    return Unlabelled(images), [items[place] for place in order]


def labels_of(items: Sequence[Item], number: dict[str, int]) -> np.ndarray:
    """Return true labels int64 [N], -1 where unknown. Of a target, for `uda.evaluation` alone."""
    labels = {**number, UNLABELLED: -1}
    return np.array([labels[item.class_name] for item in items], dtype=np.int64)


def decode_all(
    items: Sequence[Item],
    px: int,
    memory_gb: float = math.inf,
    cache: Path | str = "",
    *,
    by_pixels: bool = False,
) -> tuple[Tensor, list[int]]:
    """uint8 [N, 3, px, px], as `genmix edit --square-px` reads them: edits are found by content.

    Also, of each of its rows, the item's place in ``items``: its own, or ``by_pixels`` one that a
    hash of its pixels decides. More than ``memory_gb`` GiB are decoded into a file in the folder
    ``cache`` once, read-only, and found there again while the pictures' files stay as they are.
    """
    shape = (len(items), 3, px, px)

    def fill(images: Tensor) -> list[int]:
        _decode_into(images, items, px)
        if not by_pixels:
            return list(range(len(items)))
        digests = [
            hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in images
        ]
        order = sorted(range(len(items)), key=digests.__getitem__)
        reorder(images, order)
        return order

    if fits(shape, memory_gb):
        images = torch.empty(shape, dtype=torch.uint8)
        return images, fill(images)
    key = files_key([item.path for item in items], px, by_pixels)
    return stored(Path(cache), key, shape, fill)


def _decode_into(images: Tensor, items: Sequence[Item], px: int) -> None:
    def decode_one(index: int) -> None:
        item = items[index]
        if item.pixels is None:
            images[index] = load_rgb(item.path, px)
        else:  # as load_rgb does it
            picture = Image.fromarray(item.pixels)
            images[index] = from_picture(picture.resize((px, px), Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(max_workers=4) as pool:
        # Bars of a second or two only distract; large sets take minutes.
        list(
            tqdm(
                pool.map(decode_one, range(len(items))),
                "decode",
                len(items),
                unit="img",
                leave=False,
                delay=2,
                disable=None if is_main() else True,
            )
        )


def resize(images: Tensor, px: int) -> Tensor:
    """uint8 [B, 3, H, W] -> uint8 [B, 3, px, px], bilinear with antialiasing."""
    if images.shape[-2:] == (px, px):
        return images
    return F.interpolate(images, (px, px), mode="bilinear", antialias=True)


def resize_all(
    images: Tensor, px: int, memory_gb: float = math.inf, cache: Path | str = ""
) -> Tensor:
    """`resize` of a whole set, some at a time; where the result takes more than ``memory_gb`` GiB,
    it goes into a file in the folder ``cache`` that is gone with the process."""
    if images.shape[-2:] == (px, px):
        return images
    out = room((*images.shape[:2], px, px), memory_gb, Path(cache))
    for own, batch in zip(out.split(RESIZE_BATCH), images.split(RESIZE_BATCH), strict=True):
        own.copy_(resize(batch, px))
    return out
