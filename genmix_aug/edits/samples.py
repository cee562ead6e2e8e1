"""Edits of pictures in memory: a Dataset, a tensor, a list of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from genmix_aug.digests import image_digest
from genmix_aug.editors import Editor
from genmix_aug.editors.options import make_editor
from genmix_aug.edits.fill import Filler, FillSettings, Originals
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore
from genmix_aug.images import from_picture
from genmix_aug.prompts import check_prompts, parse_prompts
from genmix_aug.screening.checks import screen

DEFAULT_SETTINGS = FillSettings(screen=screen)


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
    settings: FillSettings = DEFAULT_SETTINGS,
) -> list[list[str]]:
    """Fill a store with edits of images in memory, as `genmix edit` does with files.

    May be stopped at any moment and run again: what is stored is not made again. The defaults are
    those of `genmix_aug.transform.GenMixTransform`, which then looks edits up by the pixels: let
    it see the same images.

    Args:
        images: uint8 [N, 3, H, W], or what gives image after image by number: a list or Dataset of
            uint8 tensors [3, H, W] or Pillow images of any sizes, or of samples (tuples, lists,
            dicts) of which the first such image is taken. A Dataset without transforms, as those
            would change the pixels between readings.
        store: The store or its folder.
        editor: An editor, or an editor's name for its default options. Its memory is freed
            afterwards.
        prompts: The name of a set, text with commas, or a sequence.
        per_image: Edits of each image.
        seed: Decides prompts and edits; the transform's `edit_seed`.
        settings: Batch size, screening, redraws and progress bars. By default edits are screened
            by their pixels.

    Returns:
        For each image the keys of its edits in the store, without those that were rejected and
        could not be redrawn well.

    Raises:
        ValueError: No image in a sample or of another type, no such editor or prompt, a number
            out of range, or images that change while they are read.
        OSError: The disk is full or not writable; what is stored stays good.
    """
    if per_image < 1:
        raise ValueError(f"per_image must be at least 1, not {per_image}")
    editor = make_editor(editor) if isinstance(editor, str) else editor
    chosen = parse_prompts(prompts)
    check_prompts(chosen, editor.prompts)
    pictures = _Pictures(images)
    digests = [image_digest(pictures[number]) for number in range(len(images))]
    requests = EditPlan(chosen, per_image, editor.fingerprint, seed).requests(digests)
    names = [f"image {number}" for number in range(len(images))]
    store = store if isinstance(store, EditStore) else EditStore(store)
    filler = Filler(store, editor, Originals(pictures, names, digests), requests, settings)
    try:
        keys = filler.fill()
    finally:
        editor.release()
    keys_of: list[list[str]] = [[] for _ in digests]
    for request, key in zip(requests, keys, strict=True):
        if key is not None:
            keys_of[request.image].append(key)
    return keys_of


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
    """Return the first image in a sample, looking into its parts in turn."""
    if isinstance(sample, Image.Image) or (isinstance(sample, Tensor) and sample.ndim == 3):
        return sample
    parts = sample.values() if isinstance(sample, Mapping) else sample
    if not isinstance(parts, str | Tensor) and isinstance(sample, tuple | list | Mapping):
        return next((image for part in parts if (image := _first_image(part)) is not None), None)
    return None
