"""The keys that edits are stored under, and the attempts that may stand for a request."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from itertools import count
from typing import NamedTuple

from genmix_aug.seeding import hash_seed


class Request(NamedTuple):
    """An edit that is wanted: of which image, under which short prompt, with which seed."""

    image: int
    prompt: str
    seed: int


class Attempt(NamedTuple):
    """An edit that may stand for a request; a redraw has another seed, and so another key."""

    key: str
    seed: int
    number: int  # 0 for the request's seed


def edit_key(digest: str, prompt: str, seed: int, fingerprint: str) -> str:
    """Return an edit's name: 40 hexadecimal digits of `image_digest`, prompt, seed and editor."""
    parts = json.dumps([digest, prompt, int(seed), fingerprint])
    return blake2b(parts.encode(), digest_size=20).hexdigest()


def attempts(digest: str, prompt: str, seed: int, fingerprint: str) -> Iterator[Attempt]:
    """Yield the edits to try for a request, without end: its seed, then seeds hashed from it."""
    for number in count():
        tried = hash_seed("redraw", seed, number) if number else seed
        yield Attempt(edit_key(digest, prompt, tried, fingerprint), tried, number)
