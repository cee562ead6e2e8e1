"""Edits of images in memory: requests, and a filler of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from genmix_aug.digests import image_digest
from genmix_aug.editors import Editor
from genmix_aug.edits.fill import Filler, FillSettings, Originals
from genmix_aug.edits.keys import Request
from genmix_aug.edits.plan import EditPlan
from genmix_aug.edits.store import EditStore


def random_images(
    count: int, size: tuple[int, int] = (12, 9), seed: int = 0, below: int = 256
) -> list[Tensor]:
    """Return images uint8 [3, *size] of random levels below a limit."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, below, (3, *size), generator=generator).byte() for _ in range(count)]


def requests_for(
    images: Sequence[Tensor], prompts: Sequence[str], per_image: int, seed: int = 0
) -> list[Request]:
    """Return the requests for edits of images; the editor does not matter to them."""
    digests = [image_digest(image) for image in images]
    return EditPlan(tuple(prompts), per_image, "", seed).requests(digests)


def filler(
    store: EditStore,
    editor: Editor,
    images: Sequence[Tensor],
    requests: Sequence[tuple[int, str, int]],
    **settings: Any,
) -> Filler:
    """Return what fills a store with edits of images called `image 0`, `image 1`, …."""
    names = [f"image {number}" for number in range(len(images))]
    originals = Originals(images, names, [image_digest(image) for image in images])
    return Filler(
        store, editor, originals, [Request(*each) for each in requests], FillSettings(**settings)
    )


def fill(
    store: EditStore,
    editor: Editor,
    images: Sequence[Tensor],
    requests: Sequence[tuple[int, str, int]],
    **settings: Any,
) -> list[str | None]:
    """Fill a store with edits of images; return the key of every request."""
    return filler(store, editor, images, requests, **settings).fill()
