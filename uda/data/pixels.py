"""Images as uint8 arrays: decoded and resized once, in memory or, past a limit, in a file.

A target's view has neither labels nor file names, as folders are classes; `uda.evaluation` alone
asks for its `labels_of`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from genmix_aug.images import from_picture, load_rgb
from genmix_aug.progress import show_progress
from uda.compute.distributed import is_main
from uda.config import ComputeConfig
from uda.data.fingerprints import files_key
from uda.data.items import UNLABELLED, Item
from uda.data.pixel_cache import VERSION, allocate, fits, reorder, stored

RESIZE_BATCH = 256


@dataclass(frozen=True)
class Labelled:
    """Labelled images.

    Attributes:
        images: uint8 [N, 3, H, W].
        labels: int64 [N].
        names: Of each image, class/file.
        copies: What augmentation makes of the images, where it is made once and for all: of the
            same shape behind the first axis, in the order of `SourceBatches`'s augmented rows.
    """

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]
    copies: Tensor | None = None


@dataclass(frozen=True)
class Unlabelled:
    """The images of a target domain, without labels.

    Attributes:
        images: uint8 [N, 3, H, W].
        neighbours: int64 [N, n], the rows of each image's neighbours, of a stage that names them.
    """

    images: Tensor
    neighbours: Tensor | None = None


@dataclass(frozen=True)
class PixelStore:
    """A decoder of whole sets of images, kept in memory up to a limit and past it in files.

    Attributes:
        memory_gb: GiB of pixels of a set up to which it is kept in memory.
        cache: Folder of the files.
        upright: Whether images are turned as their EXIF tags say (`genmix_aug.images.load_rgb`).
    """

    memory_gb: float = math.inf
    cache: Path | str = ""
    upright: bool = True

    @classmethod
    def of(cls, compute: ComputeConfig, upright: bool = True) -> PixelStore:
        """Return the store that a configuration describes."""
        return cls(compute.image_memory_gb, compute.cache, upright)

    def labelled(self, items: Sequence[Item], labels: Mapping[str, int], px: int) -> Labelled:
        """Decode ``items`` to ``px`` squares, with the ``labels`` of their class names."""
        return Labelled(
            self.decode(items, px),
            torch.from_numpy(labels_of(items, labels)),
            tuple(f"{item.path.parent.name}/{item.path.name}" for item in items),
        )

    def unlabelled(self, items: Sequence[Item], px: int) -> tuple[Unlabelled, list[Item]]:
        """Return the ``px`` squares of ``items``, without classes, and the items in the same order.

        The order is by a hash of the pixels: in the order of the folders, class after class, an
        image's row would tell its class.
        """
        images, order = self._decoded(items, px, by_pixels=True)
        return Unlabelled(images), [items[row] for row in order]

    def decode(self, items: Sequence[Item], px: int) -> Tensor:
        """Return uint8 [N, 3, px, px], as `genmix edit --square-px` reads images.

        Edits are looked up by content. A set too large for memory is decoded once into a file,
        read-only, which is used again while the images' files stay as they are.
        """
        return self._decoded(items, px, by_pixels=False)[0]

    def resize(self, images: Tensor, px: int) -> Tensor:
        """Return the whole set ``images`` [N, 3, H, W] as by `resize`, some at a time.

        A result too large for memory goes into a file that is deleted with the process.
        """
        if images.shape[-2:] == (px, px):
            return images
        resized = allocate((*images.shape[:2], px, px), self.memory_gb, Path(self.cache))
        for out, batch in zip(resized.split(RESIZE_BATCH), images.split(RESIZE_BATCH), strict=True):
            out.copy_(resize(batch, px))
        return resized

    def _decoded(
        self, items: Sequence[Item], px: int, by_pixels: bool
    ) -> tuple[Tensor, Sequence[int]]:
        """Return the images, and for each of their rows the index of its item."""
        shape = (len(items), 3, px, px)

        def fill(images: Tensor) -> Sequence[int]:
            _decode_into(images, items, px, self.upright)
            return _sort_by_pixels(images) if by_pixels else range(len(items))

        if fits(shape, self.memory_gb):
            images = torch.empty(shape, dtype=torch.uint8)
            return images, fill(images)
        orientation = ("upright",) if self.upright else ()  # what older versions stored
        key = files_key(items, VERSION, px, by_pixels, *orientation)
        return stored(Path(self.cache), key, shape, fill)


def labels_of(items: Sequence[Item], labels: Mapping[str, int]) -> np.ndarray:
    """Return true labels int64 [N], -1 where unknown. Of a target, for `uda.evaluation` alone."""
    known = {**labels, UNLABELLED: -1}
    return np.array([known[item.class_name] for item in items], dtype=np.int64)


def _sort_by_pixels(images: Tensor) -> list[int]:
    """Sort images in place by a hash of their pixels; return their former rows."""
    digests = [
        hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in images
    ]
    order = sorted(range(len(images)), key=digests.__getitem__)
    reorder(images, order)
    return order


def _decode_into(images: Tensor, items: Sequence[Item], px: int, upright: bool) -> None:
    def decode(row: int) -> None:
        item = items[row]
        if item.pixels is None:
            images[row] = load_rgb(item.path, px, upright)
        else:  # as load_rgb does it
            picture = Image.fromarray(item.pixels)
            images[row] = from_picture(picture.resize((px, px), Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(max_workers=4) as pool:
        # Bars of a second or two only distract; large sets take minutes.
        list(
            show_progress(
                pool.map(decode, range(len(items))),
                desc="decode",
                total=len(items),
                unit="img",
                leave=False,
                delay=2,
                shown=is_main(),
            )
        )


def resize(images: Tensor, px: int) -> Tensor:
    """Resize uint8 [B, 3, H, W] to uint8 [B, 3, px, px], bilinear with antialiasing."""
    if images.shape[-2:] == (px, px):
        return images
    return F.interpolate(images, (px, px), mode="bilinear", antialias=True)
