"""Edits of pictures that a program holds: a Dataset, a tensor, a list of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from genmix_aug.editors import Editor
from genmix_aug.editors.base import release
from genmix_aug.editors.options import make_editor
from genmix_aug.edits.fill import REDRAWS, Screen, fill
from genmix_aug.edits.plan import image_digest, plan_edits
from genmix_aug.edits.store import EditStore
from genmix_aug.images import from_picture
from genmix_aug.prompts import check_prompts, parse_prompts
from genmix_aug.screening.checks import screen as screen_pixels


class Samples(Protocol):
    """A map-style Dataset, a tensor [N, 3, H, W], or a list."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


def fill_store(
    images: Samples,
    store: EditStore | Path | str,
    editor: Editor | str = "filters",
    prompts: Sequence[str] | str = "cross-domain",
    per_image: int = 2,
    seed: int = 0,
    batch_size: int = 16,
    screen: Screen | None = screen_pixels,
    redraws: int = REDRAWS,
    progress: bool = False,
) -> list[list[str]]:
    """Fills a store with edits of images that are at hand, as `genmix edit` does with files.

    May be stopped at any moment and run again: what is there is not made again. The defaults are
    those of `genmix_aug.transform.GenMixTransform`, which then finds the edits by the pixels: let
    it see the same images.

    Args:
        images: uint8 [N, 3, H, W], or what gives image after image by number: a list or Dataset of
            uint8 tensors [3, H, W] or Pillow images of any sizes, or of samples (tuples, lists,
            dicts) of which the first such image is taken. A Dataset without transforms of its own,
            as those would change the pixels from one reading to the next.
        store: the store or its folder.
        editor: an editor, or the name of one with its default options. Its memory is given back
            afterwards.
        prompts: the name of a set, text with commas, or a sequence.
        per_image: edits of each image.
        seed: of prompts and edits; the transform's `edit_seed`.
        batch_size: images in one call of the editor.
        screen: judges the edits; None accepts all (see `genmix_aug.edits.fill.fill`).
        redraws: further seeds to try where an edit is rejected.
        progress: whether to show progress bars.

    Returns:
        For each image the keys of its edits in the store, without those that were rejected and
        could not be redrawn well.

    Raises:
        ValueError: no image in a sample or one of another type, no such editor or prompt, a number
            out of range, or images that change while they are read.
        OSError: the disk is full or not writable; what is there stays good.
    """
    if per_image < 1:
        raise ValueError(f"per_image must be at least 1, not {per_image}")
    redraw_with = make_editor(editor) if isinstance(editor, str) else editor
    chosen = parse_prompts(prompts)
    check_prompts(chosen, redraw_with.prompts)
    pictures = _Pictures(images)
    digests = [image_digest(pictures[number]) for number in range(len(images))]
    requests = plan_edits(digests, chosen, per_image, seed)
    try:
        keys = fill(
            store if isinstance(store, EditStore) else EditStore(store),
            redraw_with,
            pictures,
            [f"image {number}" for number in range(len(images))],
            requests,
            batch_size,
            progress,
            digests,
            screen,
            redraws,
        )
    finally:
        release(redraw_with)
    found: list[list[str]] = [[] for _ in digests]
    for (number, _, _), key in zip(requests, keys, strict=True):
        if key is not None:
            found[number].append(key)
    return found


class _Pictures:
    """The image of each sample, uint8 [3, H, W]."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, number: int) -> Tensor:
        sample = self.samples[number]
        image = _first_image(sample)
        if image is None:
            raise ValueError(
                f"sample {number} ({type(sample).__name__}) holds no image: give uint8 tensors "
                "[3, H, W] or Pillow images (torchvision.transforms.v2.ToImage turns NumPy's "
                "[H, W, 3] into one)"
            )
        if isinstance(image, Image.Image):
            return from_picture(image)
        if image.dtype != torch.uint8 or image.shape[0] != 3:
            raise ValueError(
                f"sample {number}: its image must be uint8 [3, H, W], not {image.dtype} "
                f"{[*image.shape]}: fill the store before transforms that change the pixels"
            )
        return image


def _first_image(sample: Any) -> Tensor | Image.Image | None:
    if isinstance(sample, Image.Image) or (isinstance(sample, Tensor) and sample.ndim == 3):
        return sample
    parts = sample.values() if isinstance(sample, Mapping) else sample
    if not isinstance(parts, str | Tensor) and isinstance(sample, tuple | list | Mapping):
        return next((found for part in parts if (found := _first_image(part)) is not None), None)
    return None
