"""What filling a store will take of disk and time, from a trial."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence

from genmix_aug.batching import batches
from genmix_aug.codec import encode
from genmix_aug.editors.base import Editor, edit_each, group_of
from genmix_aug.edits.fill import Images
from genmix_aug.edits.plan import Request
from genmix_aug.edits.store import EditStore


def estimate(
    editor: Editor,
    store: EditStore,
    images: Images,
    todo: Sequence[Request],
    batch_size: int,
) -> str:
    """What the requests `todo` will take of disk and time, from a trial that is thrown away."""
    numbered = ((number, images[request[0]]) for number, request in enumerate(todo))
    batch = next(batches(numbered, batch_size, group_of(editor)))
    originals = [image for _, image in batch]
    prompts = [todo[number][1] for number, _ in batch]
    seeds = [todo[number][2] for number, _ in batch]
    # Loads what is loaded once, and finds what is found out for batches of this size.
    edit_each(editor, originals, prompts, seeds)
    start = time.perf_counter()
    made = edit_each(editor, originals, prompts, seeds)
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
    """Bytes in words, such as 1.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def time_text(seconds: float) -> str:
    """Seconds in words, such as 3 h 20 min."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours / 24:.1f} days"
