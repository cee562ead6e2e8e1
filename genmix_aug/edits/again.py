"""Screening a store that is filled already: its records against their originals, read again."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from genmix_aug.batching import batches
from genmix_aug.codec import decode
from genmix_aug.digests import image_digest
from genmix_aug.edits.store import EditStore
from genmix_aug.files import read_bytes
from genmix_aug.images import find_images, has_orientation, load_rgb
from genmix_aug.progress import show_progress
from genmix_aug.screening.checks import REFERENCE_IMAGES, Features, Reference, reference_of, screen

NO_PICTURE = torch.zeros(3, 64, 64, dtype=torch.uint8)

# A file, the side of the square that it was read as (or 0), and whether it was turned as its EXIF
# tag says: edits from before that was done are of pictures as they are stored.
Original = tuple[Path, int, bool]


def reference_numbers(count: int) -> range:
    """Return an even sample of `count` originals, by number."""
    return range(0, count, -(-count // REFERENCE_IMAGES))


def reference_from(features: Features, image: Callable[[int], Tensor], count: int) -> Reference:
    """Return what an even sample of `count` originals, read by `image`, says about similarity."""
    numbers = show_progress(reference_numbers(count), desc="features of originals", unit="image")
    return reference_of(torch.cat([features(image(number)[None]) for number in numbers]))


def originals_of(records: Sequence[Mapping[str, Any]], images: str) -> dict[str, Original]:
    """Return the file of each original, by `image_digest`.

    Args:
        records: Of the store's manifest.
        images: The folder to look through; empty for the files that the manifest names.
    """
    sizes = sorted({record.get("square_px", 0) for record in records})
    if images:
        files = [(path, size) for size in sizes for path in find_images(images)]
    else:
        named = {
            (Path(record["folder"]) / record["source"], record.get("square_px", 0))
            for record in records
            if record.get("folder")
        }
        # Path.is_file raises on names that are too long.
        files = sorted(file for file in named if os.path.isfile(file[0]))
    candidates = [(*file, True) for file in files]
    candidates += [(*file, False) for file in files if has_orientation(file[0])]
    wanted = {record["image"] for record in records}
    by_digest = {
        image_digest(load_rgb(*original)): original
        for original in show_progress(candidates, desc="reading", unit="image")
    }
    return {digest: original for digest, original in by_digest.items() if digest in wanted}


def judged(
    store: EditStore,
    records: Sequence[dict[str, Any]],
    originals: Mapping[str, Original],
    features: Features,
    batch_size: int = 16,
) -> tuple[list[dict[str, Any]], float]:
    """Return the records with the reasons and scores of screening by features, and the limit.

    What was rejected stays so. Edits that are broken, or whose originals are lost, keep what they
    have.

    Raises:
        ValueError: Fewer than two originals are known.
    """
    if len(originals) < 2:
        raise ValueError("the originals are not where they were: name their folder with --images")
    files = sorted(originals.values())
    reference = reference_from(features, lambda number: load_rgb(*files[number]), len(files))
    copies = [dict(record) for record in records]
    known = [
        record
        for record in copies
        if record["image"] in originals
        and (store.has(record["key"]) or store.has_rejected(record["key"]))
    ]
    bar = show_progress(known, desc="screening", unit="edit")
    pairs = ((record, *pair_of(store, record, originals)) for record in bar)
    items = (((record, edit), original) for record, original, edit in pairs)
    for batch in batches(items, batch_size):
        befores = torch.stack([original for _, original in batch])
        afters = torch.stack([edit for (_, edit), _ in batch])
        verdicts = screen(befores, afters, features, reference)
        for ((record, _), _), verdict in zip(batch, verdicts, strict=True):
            record["scores"] = verdict.scores
            record["reason"] = record["reason"] or verdict.reason
    return copies, reference.min_similarity


def pair_of(
    store: EditStore, record: Mapping[str, Any], originals: Mapping[str, Original]
) -> tuple[Tensor, Tensor]:
    """Return original and edit; a grey picture where the original is lost or the edit broken."""
    path = store.find(record["key"]) or store.find_rejected(record["key"])
    edit = decode(read_bytes(path)) if path else None
    file = originals.get(record["image"])
    original = load_rgb(*file) if file else None
    grey = torch.full_like(next((p for p in (original, edit) if p is not None), NO_PICTURE), 200)
    return grey if original is None else original, grey if edit is None else edit
