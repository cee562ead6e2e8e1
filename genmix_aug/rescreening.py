"""Screening a store that is filled already: its records against originals found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.codec import decode
from genmix_aug.edit_plan import image_digest
from genmix_aug.edit_store import EditStore
from genmix_aug.images import ImageFiles, find_images, load_rgb
from genmix_aug.screening import REFERENCE_IMAGES, Features, Reference, reference_of, screen

NO_PICTURE = torch.zeros(3, 64, 64, dtype=torch.uint8)


def reference_from(features: Features, images: ImageFiles) -> Reference:
    """What an even sample of the originals says about similarity."""
    sample = range(0, len(images), -(-len(images) // REFERENCE_IMAGES))
    numbers = tqdm(sample, desc="reading originals' features", unit="image", disable=None)
    return reference_of(torch.cat([features(images[number][None]) for number in numbers]))


def originals_of(
    records: Sequence[Mapping[str, Any]], images: str, square_px: int
) -> dict[str, Path]:
    """Where each original is, by `image_digest`: in this folder, or where the manifest says."""
    if images:
        places = find_images(images)
    else:
        named = {Path(r["folder"]) / r["source"] for r in records if r.get("folder")}
        places = sorted(path for path in named if path.is_file())
    wanted = {record["image"] for record in records}
    found = {
        image_digest(load_rgb(path, square_px)): path
        for path in tqdm(places, desc="reading", unit="image", disable=None)
    }
    return {digest: path for digest, path in found.items() if digest in wanted}


def judged(
    store: EditStore,
    records: Sequence[dict[str, Any]],
    originals: Mapping[str, Path],
    square_px: int,
    features: Features,
    batch_size: int = 16,
) -> tuple[list[dict[str, Any]], float]:
    """The records with reasons and scores as screening by features gives them, and the limit.

    What was rejected stays so. Edits that are broken, or whose originals are not found, keep
    what they have.

    Raises:
        ValueError: fewer than two originals are found.
    """
    if len(originals) < 2:
        raise ValueError("the originals are not where they were: name their folder with --images")
    reference = reference_from(features, ImageFiles(sorted(originals.values()), square_px))
    found = [dict(record) for record in records]
    known = [
        record
        for record in found
        if record["image"] in originals
        and (store.has(record["key"]) or store.has_rejected(record["key"]))
    ]
    pairs = (pair_of(store, record, originals, square_px) for record in known)
    waiting: dict[tuple[int, ...], list[tuple[dict[str, Any], Tensor, Tensor]]] = {}

    def judge(group: list[tuple[dict[str, Any], Tensor, Tensor]]) -> None:
        own, befores, afters = zip(*group, strict=True)
        verdicts = screen(torch.stack(befores), torch.stack(afters), features, reference)
        for record, verdict in zip(own, verdicts, strict=True):
            record["scores"] = verdict.scores
            record["reason"] = record["reason"] or verdict.reason

    bar = tqdm(pairs, desc="screening", unit="edit", total=len(known), disable=None)
    for record, (before, after) in zip(known, bar, strict=True):
        group = waiting.setdefault(tuple(before.shape), [])
        group.append((record, before, after))
        if len(group) == batch_size:
            judge(waiting.pop(tuple(before.shape)))
    for group in waiting.values():
        judge(group)
    return found, reference.min_similarity


def pair_of(
    store: EditStore, record: Mapping[str, Any], originals: Mapping[str, Path], square_px: int
) -> tuple[Tensor, Tensor]:
    """Original and edit; a grey picture where the original is not found or the edit is broken."""
    path = store.find(record["key"]) or store.find_rejected(record["key"])
    edit = decode(path.read_bytes()) if path else None
    place = originals.get(record["image"])
    original = load_rgb(place, square_px) if place else None
    grey = torch.full_like(next((p for p in (original, edit) if p is not None), NO_PICTURE), 200)
    return grey if original is None else original, grey if edit is None else edit
