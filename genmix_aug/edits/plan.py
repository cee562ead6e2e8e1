"""Which edits an image gets: requests by content, and the keys that edits are stored under."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import count
from typing import NamedTuple

import torch
from torch import Tensor

from genmix_aug.prompts import prompts_for_image
from genmix_aug.seeding import hash_seed

Request = tuple[int, str, int]  # image number, short prompt, seed


class Attempt(NamedTuple):
    """One edit that may stand for a request; a redraw has a seed, and so a key, of its own."""

    key: str
    seed: int
    number: int  # 0 for the request's own seed


def image_digest(image: Tensor) -> str:
    """Hash of an image's size and pixels, uint8 [3, H, W].

    Raises:
        ValueError: another dtype or shape.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image must be uint8 [3, H, W], not {image.dtype} {[*image.shape]}")
    digest = blake2b(repr(tuple(image.shape)).encode(), digest_size=20)
    digest.update(image.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def edit_key(digest: str, prompt: str, seed: int, fingerprint: str) -> str:
    """The name of an edit: 40 hexadecimal digits from `image_digest`, prompt, seed and editor."""
    parts = json.dumps([digest, prompt, int(seed), fingerprint])
    return blake2b(parts.encode(), digest_size=20).hexdigest()


def attempts(digest: str, prompt: str, seed: int, fingerprint: str) -> Iterator[Attempt]:
    """The edits to try for a request, without end: its own seed, then seeds hashed from it."""
    for number in count():
        own = hash_seed("redraw", seed, number) if number else seed
        yield Attempt(edit_key(digest, prompt, own, fingerprint), own, number)


def plan_edits(
    digests: Sequence[str], prompts: Sequence[str], per_image: int, seed: int = 0
) -> list[Request]:
    """The requests for `per_image` edits of each image, under different prompts while they last.

    Prompts and seeds depend on image content and `seed` alone, not on names or order: whoever
    asks for edits of the same pictures asks for the same edits. A larger `per_image` keeps the
    earlier requests.

    Args:
        digests: `image_digest` of each image.
        prompts: short prompts to choose from.
        per_image: edits of each image, 0 or more.
        seed: of the choice.

    Raises:
        ValueError: no prompts, one named twice, or `per_image` negative.
    """
    return [
        (index, prompt, hash_seed("edit", seed, digest, number))
        for index, digest in enumerate(digests)
        for number, prompt in enumerate(prompts_for_image(digest, prompts, per_image, seed))
    ]
