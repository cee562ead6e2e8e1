"""Which images a run is made of: their names, and hashes of the files' contents.

Where they lie decides nothing, so moved images are the same. To read 100,000 files again takes
minutes, so they are read only where their sizes, times or places are not those of last time.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from genmix_aug.progress import show_progress
from uda.data.items import Item, picture_names
from uda.data.names import join_names
from uda.runs.files import ReadError, read_bytes
from uda.runs.hashing import config_hash

MOST_SEEN = 8  # places and machines whose files are known as they are, for each run


def files_key(items: Sequence[Item], *more: object) -> str:
    """Return hexadecimal digits that stand for images' files as they lie on the disk, and ``more``.

    They depend on the files' paths, sizes and times, and on what distinguishes two files of equal
    size and time that were swapped (inode, time of the last change).
    """
    digest = hashlib.blake2b(repr(more).encode(), digest_size=10)
    for item in items:
        # Decoding will report a file that cannot be read.
        file = item.path if item.pixels is None else item.path.parent  # the archive
        digest.update(repr((os.path.abspath(item.path), _as_on_disk(file))).encode())
    return digest.hexdigest()


def _as_on_disk(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def content_hash(item: Item) -> str:
    """Return 16 hexadecimal digits for an image's content; an empty text where its file is gone."""
    try:
        content = read_bytes(item.path) if item.pixels is None else item.pixels.tobytes()
    except ReadError:  # it exists, and the disk fails
        raise
    except OSError:
        return ""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


@dataclass(frozen=True)
class PictureSet:
    """The images of a part of a run, known by their names and contents."""

    items: tuple[Item, ...] = ()

    @cached_property
    def key(self) -> str:
        """What stands for the classes, and for the files as they lie on the disk now."""
        return files_key(self.items, [item.class_name for item in self.items])

    @cached_property
    def named(self) -> list[tuple[str, str]]:
        """Name and content's hash of each image, without those whose files are gone."""
        return _named_hashes(self.items, self.key)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Their number, and a hash of all."""
        return {"count": len(self.named), "hash": config_hash({"pictures": sorted(self.named)})}

    def record(self, kept: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what a run keeps of its images, where ``kept`` is what it has kept of the same."""
        seen = kept.get("seen", []) if kept else []
        if kept and self.key in seen:
            return dict(kept)
        return {**self.summary, "seen": [*seen, self.key][-MOST_SEEN:], "hashes": dict(self.named)}

    def difference(self, kept: Mapping[str, Any] | None) -> str:
        """Return in words how the images differ from those of a `record`; empty if they do not."""
        kept = kept or PictureSet().record()
        if self.key in kept.get("seen", ()) or self.summary.items() <= kept.items():
            return ""
        before, now = kept.get("hashes", {}), dict(self.named)
        names = {
            "new": [name for name in now if name not in before],
            "gone": [name for name in before if name not in now],
            "changed": [name for name in now if before.get(name, now[name]) != now[name]],
        }
        counts = f"{kept.get('count', 0)} then, {len(self.named)} now"
        parts = [f"{word}: {join_names(those, 3)}" for word, those in names.items() if those]
        return "; ".join([counts, *parts])


@lru_cache(maxsize=8)  # the runs of a sweep are made of the same images
def _named_hashes(items: tuple[Item, ...], key: str) -> list[tuple[str, str]]:
    """Return `PictureSet.named` of ``items`` whose files are as ``key`` says."""
    from uda.compute.distributed import is_main  # imports torch

    with ThreadPoolExecutor(max_workers=4) as pool:
        hashes = list(
            show_progress(
                pool.map(content_hash, items),
                desc="compare",
                total=len(items),
                unit="img",
                leave=False,
                delay=2,
                shown=is_main(),
            )
        )
    different = list(dict.fromkeys(items))  # those that a list has twice share a name
    names = dict(zip(different, picture_names(different), strict=True))
    return [(names[item], content) for item, content in zip(items, hashes, strict=True) if content]
