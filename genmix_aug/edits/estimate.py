"""What filling a store will take of disk and time, from a trial."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

from genmix_aug.codec import encode
from genmix_aug.edits.fill import Filler


def estimate(filler: Filler, todo: Sequence[int]) -> str:
    """Return in words what requests will take of disk and time, from a trial batch.

    Args:
        filler: What is to be filled; its store is not written to.
        todo: Numbers of the requests still to be made, from `Filler.missing`.
    """
    editor, store = filler.editor, filler.store
    batch = next(filler.batches(todo))
    originals = [image for _, image in batch]
    prompts = [filler.requests[number].prompt for number, _ in batch]
    seeds = [filler.requests[number].seed for number, _ in batch]
    # The first call loads what is loaded once and settles how large a batch memory holds.
    editor.edit_each(originals, prompts, seeds)
    start = time.perf_counter()
    made = editor.edit_each(originals, prompts, seeds)
    sizes = [len(encode(edit, store.image_format)) for edit in made]
    rate = len(batch) / (time.perf_counter() - start)
    disk = sum(sizes) / len(sizes) * len(todo)
    root = store.root.absolute()
    free = shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free
    text = (
        f"about {disk_text(disk)} of disk ({disk_text(free)} free) and, for the editing, "
        f"{time_text(len(todo) / rate)} of this process at {rate:.3g} images/s, "
        f"measured on {len(batch)}"
    )
    return text + ("; the disk is too small" if disk > free else "")


def disk_text(size: float) -> str:
    """Return bytes in words, such as 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def time_text(seconds: float) -> str:
    """Return seconds in words, such as 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"
