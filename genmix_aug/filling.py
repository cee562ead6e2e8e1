"""Filling a store: makes the edits that it lacks, screens them and draws bad ones again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.edit_plan import Attempt, Request, attempts, image_digest
from genmix_aug.edit_store import EditStore
from genmix_aug.editors.base import Editor
from genmix_aug.screening import Verdict

REDRAWS = 3  # further seeds to try where an edit is rejected

Digests = Sequence[str] | Mapping[int, str]
Item = TypeVar("Item")
Screen = Callable[[Tensor, Tensor], Sequence[Verdict]]


class Images(Protocol):
    """Anything indexable by image number that gives uint8 [3, H, W]."""

    def __getitem__(self, index: int, /) -> Tensor: ...


def missing(
    store: EditStore,
    images: Images,
    requests: Sequence[Request],
    fingerprint: str,
    progress: bool = False,
    digests: Digests | None = None,
    redraws: int = REDRAWS,
) -> tuple[list[str | None], list[int]]:
    """The key of each request, and the numbers of the requests still to be made.

    Requests that share a key are counted once. A key is None where all attempts were
    rejected. `digests`, where the caller knows the `image_digest` of each image already,
    saves reading the images.
    """
    if digests is None:
        digests = _digests(images, requests)
    keys: list[str | None] = []
    todo: list[int] = []
    seen: set[str] = set()
    with tqdm(
        requests,
        desc="checking the store",
        unit="edit",
        leave=False,
        delay=2,
        disable=None if progress else True,
    ) as bar:
        for number, (index, prompt, seed) in enumerate(bar):
            attempt, made = _standing(store, digests[index], prompt, seed, fingerprint, redraws)
            keys.append(attempt.key if attempt else None)
            if attempt and attempt.key not in seen:
                seen.add(attempt.key)
                if not made:
                    todo.append(number)
    return keys, todo


def _standing(
    store: EditStore, digest: str, prompt: str, seed: int, fingerprint: str, redraws: int
) -> tuple[Attempt | None, bool]:
    """A request's first attempt that was not rejected, and whether it is there.

    None where the request's own seed and `redraws` more were rejected, and no later one is there.
    """
    for attempt in attempts(digest, prompt, seed, fingerprint):
        if store.has(attempt.key):
            return attempt, True
        if not store.has_rejected(attempt.key):
            return (attempt, False) if attempt.number <= redraws else (None, True)
    raise AssertionError("attempts do not end")


def fill(
    store: EditStore,
    editor: Editor,
    images: Images,
    names: Sequence[str],
    requests: Sequence[Request],
    batch_size: int = 16,
    progress: bool = False,
    digests: Digests | None = None,
    screen: Screen | None = None,
    redraws: int = REDRAWS,
    origin: Mapping[str, Any] | None = None,
) -> list[str | None]:
    """Makes the edits that the store lacks, and returns the key of every request.

    May be stopped at any moment and run again; several processes may fill one store.

    Args:
        editor: makes the edits; its fingerprint is part of each key.
        images: uint8 [3, H, W] by number, of any sizes; those of equal size are batched.
        names: what the manifest calls each image, by number.
        requests: (image number, short prompt, seed) for each edit wanted.
        batch_size: images in one call of the editor.
        progress: whether to show progress bars.
        digests: the `image_digest` of each image, where known already.
        screen: judges edits of originals, uint8 [B, 3, H, W] each; what it rejects is drawn
            again with another seed. None accepts all.
        redraws: further seeds to try for a request; where all are rejected its key is None.
        origin: put into each record of the manifest, such as the folder of the images, so that
            they can be found again.

    Raises:
        ValueError: `batch_size` is less than 1, the editor refuses a prompt, or an image is no
            longer what it was when its digest was taken.
        OSError: the disk is full or not writable; what is there stays good.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    if digests is None:
        digests = _digests(images, requests)
    store.sweep()
    origin = origin or {}
    wanted = (images, requests, editor.fingerprint)
    keys, todo = missing(store, *wanted, progress, digests, redraws)
    if not todo:
        return keys
    rejected: Counter[str] = Counter()
    with tqdm(
        total=len(todo), desc="editing", unit="image", disable=None if progress else True
    ) as bar:
        # Each round makes an attempt of each, or finds it made by another process.
        for _ in range(1 + redraws):
            again: list[int] = []
            numbered = ((number, images[requests[number][0]]) for number in todo)
            for batch in batches(numbered, batch_size):
                fresh = _still_missing(store, batch, names, *wanted[1:], digests, redraws)
                verdicts = _make(store, editor, fresh, names, requests, digests, screen, origin)
                again += [number for number, verdict in verdicts.items() if verdict.reason]
                rejected.update(v.reason for v in verdicts.values() if v.reason)
                bar.update(len(batch) - sum(bool(v.reason) for v in verdicts.values()))
                bar.set_postfix(rejected, refresh=False)
            todo = again
    return missing(store, *wanted, progress, digests, redraws)[0]


def _still_missing(
    store: EditStore,
    batch: list[tuple[int, Tensor]],
    names: Sequence[str],
    requests: Sequence[Request],
    fingerprint: str,
    digests: Digests,
    redraws: int,
) -> list[tuple[int, Tensor, Attempt]]:
    """What to make now: another process may have made, or rejected, some meanwhile."""
    found = []
    for number, image in batch:
        index, prompt, seed = requests[number]
        if image_digest(image) != digests[index]:
            raise ValueError(f"image {names[index]} changed in the meantime: run this again")
        attempt, made = _standing(store, digests[index], prompt, seed, fingerprint, redraws)
        if attempt and not made:
            found.append((number, image, attempt))
    return found


def _make(
    store: EditStore,
    editor: Editor,
    batch: list[tuple[int, Tensor, Attempt]],
    names: Sequence[str],
    requests: Sequence[Request],
    digests: Digests,
    screen: Screen | None,
    origin: Mapping[str, Any],
) -> dict[int, Verdict]:
    """Edits a batch and writes it; the verdict on each request's attempt."""
    if not batch:
        return {}
    originals = torch.stack([image for _, image, _ in batch])
    prompts = [requests[number][1] for number, _, _ in batch]
    edits = editor.edit(originals, prompts, [attempt.seed for _, _, attempt in batch])
    verdicts = screen(originals, edits) if screen else [Verdict("", {})] * len(batch)
    records: list[dict[str, Any]] = []
    for (number, _, attempt), verdict in zip(batch, verdicts, strict=True):
        index, prompt, _ = requests[number]
        records.append(
            {
                "key": attempt.key,
                "image": digests[index],
                "source": str(names[index]),
                **origin,
                "prompt": prompt,
                "seed": attempt.seed,
                "editor": editor.fingerprint,
                "attempt": attempt.number,
                "reason": verdict.reason,
                "scores": verdict.scores,
            }
        )
    store.record(records)
    store.write(
        {record["key"]: edit for record, edit in zip(records, edits, strict=True)},
        {record["key"] for record in records if record["reason"]},
    )
    numbers = [number for number, _, _ in batch]
    return dict(zip(numbers, verdicts, strict=True))


def _digests(images: Images, requests: Sequence[Request]) -> dict[int, str]:
    return {index: image_digest(images[index]) for index in {request[0] for request in requests}}


def batches(
    items: Iterable[tuple[Item, Tensor]], batch_size: int
) -> Iterator[list[tuple[Item, Tensor]]]:
    """Batches of (anything, image) with images of one size each; few are held at a time."""
    waiting: dict[tuple[int, ...], list[tuple[Item, Tensor]]] = {}
    held = 0
    for item, image in items:
        shape = tuple(image.shape)
        waiting.setdefault(shape, []).append((item, image))
        held += 1
        full = len(waiting[shape]) >= batch_size
        if full or held >= 8 * batch_size:
            # Where sizes are many and no batch fills up, the fullest goes as it is.
            shape = shape if full else max(waiting, key=lambda known: len(waiting[known]))
            batch = waiting.pop(shape)
            held -= len(batch)
            yield batch
    yield from waiting.values()
