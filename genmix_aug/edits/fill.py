"""Filling a store: makes the edits that it lacks, screens them and draws bad ones again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.batching import batches
from genmix_aug.editors.base import Editor, edit_each, group_of
from genmix_aug.edits.plan import Attempt, Request, attempts, image_digest
from genmix_aug.edits.store import EditStore
from genmix_aug.edits.verdicts import ByPlace, ByScreen
from genmix_aug.screening.checks import Verdict

REDRAWS = 3  # further seeds to try where an edit is rejected

Digests = Sequence[str] | Mapping[int, str]
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
    return _missing(ByPlace(store), requests, digests, fingerprint, redraws, progress)


def _missing(
    standing: ByPlace | ByScreen,
    requests: Sequence[Request],
    digests: Digests,
    fingerprint: str,
    redraws: int,
    progress: bool,
) -> tuple[list[str | None], list[int]]:
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
            tries = attempts(digests[index], prompt, seed, fingerprint)
            attempt, made = _first_good(standing, tries, redraws)
            keys.append(attempt.key if attempt else None)
            if attempt and attempt.key not in seen:
                seen.add(attempt.key)
                if not made:
                    todo.append(number)
    return keys, todo


def _first_good(
    standing: ByPlace | ByScreen, tries: Iterator[Attempt], redraws: int
) -> tuple[Attempt | None, bool]:
    """A request's first attempt that was not rejected, and whether it is there and was judged.

    None where the request's own seed and `redraws` more were rejected (and no later one is there,
    where that may serve).
    """
    for attempt in tries:
        reason = standing.reason(attempt.key)
        within = attempt.number <= redraws
        if reason is None:
            return (attempt, False) if within else (None, True)
        if not reason and (within or standing.any_attempt):
            return attempt, True
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
    judged_by: str = "",
) -> list[str | None]:
    """Makes the edits that the store lacks, and returns the key of every request.

    May be stopped at any moment and run again; several processes may fill one store.

    Args:
        editor: makes the edits; its fingerprint is part of each key.
        images: uint8 [3, H, W] by number, of any sizes; those that the editor works on at one
            size are batched.
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
        judged_by: the name of `screen` ("none", "pixels", or one of your own that says what else
            decides). The keys are then those that this screen accepts, whoever filled the store and
            by what screen: edits that are there are judged where it has not yet, and stay where
            they are (see `EditStore.read_any`). Without a name an edit stands as the store keeps
            it: accepted ones serve, unseen by `screen`, and rejected ones do not.

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
    standing = ByScreen(store, judged_by) if judged_by else ByPlace(store)
    work = _Work(store, standing, editor, names, requests, digests, screen, redraws, origin or {})
    keys, todo = work.missing(progress)
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
            for batch in batches(numbered, batch_size, group_of(editor)):
                verdicts = work.make(batch)
                again += [number for number, verdict in verdicts.items() if verdict.reason]
                rejected.update(v.reason for v in verdicts.values() if v.reason)
                bar.update(len(batch) - sum(bool(v.reason) for v in verdicts.values()))
                bar.set_postfix(rejected, refresh=False)
            todo = again
    return work.missing(progress)[0]


class _Work(NamedTuple):
    """What `fill` was asked for; its parts take one batch at a time."""

    store: EditStore
    standing: ByPlace | ByScreen
    editor: Editor
    names: Sequence[str]
    requests: Sequence[Request]
    digests: Digests
    screen: Screen | None
    redraws: int
    origin: Mapping[str, Any]

    def missing(self, progress: bool) -> tuple[list[str | None], list[int]]:
        """As the function of this name, by the verdicts that count here."""
        fingerprint = self.editor.fingerprint
        wanted = (self.requests, self.digests, fingerprint, self.redraws)
        return _missing(self.standing, *wanted, progress)

    def make(self, batch: list[tuple[int, Tensor]]) -> dict[int, Verdict]:
        """Makes what a batch lacks and judges it; the verdict on each request's attempt."""
        open_ones = self._still_missing(batch)
        if not open_ones:
            return {}
        originals = [image for _, image, _ in open_ones]
        edits, fresh = self._edits(open_ones)
        verdicts = judged_each(self.screen, originals, edits)
        records = [
            self._record(number, attempt, verdict)
            for (number, _, attempt), verdict in zip(open_ones, verdicts, strict=True)
        ]
        self.store.record(records)
        written = {records[k]["key"]: edits[k] for k in fresh}
        self.store.write(written, {record["key"] for record in records if self._refuses(record)})
        for record in records:
            self.standing.learn(record["key"], record["reason"])
        return {number: verdict for (number, *_), verdict in zip(open_ones, verdicts, strict=True)}

    def _still_missing(self, batch: list[tuple[int, Tensor]]) -> list[tuple[int, Tensor, Attempt]]:
        """What to do now: another process may have made, or rejected, some meanwhile."""
        found = []
        for number, image in batch:
            index, prompt, seed = self.requests[number]
            if image_digest(image) != self.digests[index]:
                raise ValueError(
                    f"image {self.names[index]} changed in the meantime: run this again"
                )
            tries = attempts(self.digests[index], prompt, seed, self.editor.fingerprint)
            attempt, made = _first_good(self.standing, tries, self.redraws)
            if attempt and not made:
                found.append((number, image, attempt))
        return found

    def _edits(
        self, batch: list[tuple[int, Tensor, Attempt]]
    ) -> tuple[list[Tensor], Sequence[int]]:
        """The edits of a batch, and which of them are new: others wait for a verdict alone."""
        there = {
            k: self.store.read_any(attempt.key)
            for k, (_, _, attempt) in enumerate(batch)
            if self.standing.judged_by and self.store.has_any(attempt.key)
        }
        fresh = [k for k in range(len(batch)) if k not in there]
        made: list[Tensor] = []
        if fresh:
            images = [batch[k][1] for k in fresh]
            prompts = [self.requests[batch[k][0]][1] for k in fresh]
            made = edit_each(self.editor, images, prompts, [batch[k][2].seed for k in fresh])
        new = dict(zip(fresh, made, strict=True))
        return [new[k] if k in new else there[k] for k in range(len(batch))], fresh

    def _record(self, number: int, attempt: Attempt, verdict: Verdict) -> dict[str, Any]:
        """The manifest's line on an attempt; see `EditStore.entries`."""
        index, prompt, _ = self.requests[number]
        by = self.standing.judged_by
        return {
            "key": attempt.key,
            "image": self.digests[index],
            "source": str(self.names[index]),
            **self.origin,
            "prompt": prompt,
            "seed": attempt.seed,
            "editor": self.editor.fingerprint,
            "attempt": attempt.number,
            "reason": verdict.reason,
            "scores": verdict.scores,
            **({"screen": by} if by else {}),
        }

    def _refuses(self, record: Mapping[str, Any]) -> bool:
        """Whether a new edit belongs among the rejected: a broken one of them stays there."""
        kept = bool(self.standing.judged_by) and self.store.find_rejected(record["key"])
        return bool(record["reason"] or kept)


def judged_each(
    screen: Screen | None, originals: Sequence[Tensor], edits: Sequence[Tensor]
) -> list[Verdict]:
    """The verdict on each edit of an original, uint8 [3, H, W] both, of any sizes."""
    if screen is None:
        return [Verdict("", {})] * len(edits)
    found: dict[int, Verdict] = {}
    numbered = ((k, original) for k, original in enumerate(originals))
    for batch in batches(numbered, len(edits)):
        numbers = [k for k, _ in batch]
        before = torch.stack([original for _, original in batch])
        after = torch.stack([edits[k] for k in numbers])
        found |= zip(numbers, screen(before, after), strict=True)
    return [found[k] for k in range(len(edits))]


def _digests(images: Images, requests: Sequence[Request]) -> dict[int, str]:
    return {index: image_digest(images[index]) for index in {request[0] for request in requests}}
