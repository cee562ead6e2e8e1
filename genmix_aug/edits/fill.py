"""Filling a store: make the edits that it lacks, screen them and draw bad ones again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from genmix_aug.batching import batches
from genmix_aug.digests import image_digest
from genmix_aug.editors.base import Editor
from genmix_aug.edits.keys import Attempt, Request, attempts
from genmix_aug.edits.store import EditStore
from genmix_aug.edits.verdicts import ScreenVerdicts, StoredVerdicts
from genmix_aug.progress import show_progress
from genmix_aug.screening.checks import Verdict

REDRAWS = 3  # further seeds to try where an edit is rejected

Screen = Callable[[Tensor, Tensor], Sequence[Verdict]]


class Images(Protocol):
    """Anything indexable by image number that gives uint8 [3, H, W]."""

    def __getitem__(self, index: int, /) -> Tensor: ...


@dataclass(frozen=True)
class Originals:
    """The images to edit, by number, and what is known of each.

    Attributes:
        images: uint8 [3, H, W] by number, of any sizes.
        names: What the manifest calls each image.
        digests: The `image_digest` of each image.
        origin: Goes into each record of the manifest, such as the folder of the images, so that
            they can be read again.
    """

    images: Images
    names: Sequence[str]
    digests: Sequence[str]
    origin: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FillSettings:
    """How a store is filled.

    Attributes:
        batch_size: Images in a call of the editor.
        screen: Judges edits of originals, uint8 [B, 3, H, W] each; what it rejects is drawn
            again with another seed. None accepts all.
        judged_by: The name of `screen` ("none", "pixels", or a name that says what else
            decides). The keys are then those that this screen accepts, whoever filled the store
            and by what screen: stored edits that it has not judged are judged, and stay where
            they are (see `EditStore.read_any`). Without a name an edit stands as the store
            keeps it: accepted ones serve, unseen by `screen`, and rejected ones do not.
        redraws: Further seeds to try for a request; where all are rejected its key is None.
        progress: Whether to show progress: bars on a terminal, lines in a log.
    """

    batch_size: int = 16
    screen: Screen | None = None
    judged_by: str = ""
    redraws: int = REDRAWS
    progress: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")


class _Open(NamedTuple):
    """An attempt that is still to be made or judged."""

    number: int  # of the request
    image: Tensor
    attempt: Attempt


@dataclass
class Filler:
    """Makes the edits that a store lacks of some requests.

    May be stopped at any moment and run again; several processes may fill the same store.

    Attributes:
        store: Where the edits go.
        editor: Makes them; its fingerprint is part of each key.
        originals: The images.
        requests: The edits that are wanted.
        settings: Batch size, screening and redraws.
        rejected: How many new edits were rejected, by the reason.
    """

    store: EditStore
    editor: Editor
    originals: Originals
    requests: Sequence[Request]
    settings: FillSettings = field(default_factory=FillSettings)
    rejected: Counter[str] = field(default_factory=Counter, init=False)

    @cached_property
    def standing(self) -> StoredVerdicts:
        """The verdicts that count."""
        judged_by = self.settings.judged_by
        return ScreenVerdicts(self.store, judged_by) if judged_by else StoredVerdicts(self.store)

    def missing(self) -> tuple[list[str | None], list[int]]:
        """Return the key of each request, and the numbers of the requests still to be made.

        Requests that share a key are counted once. A key is None where all attempts were
        rejected.
        """
        keys: list[str | None] = []
        todo: list[int] = []
        seen: set[str] = set()
        with show_progress(
            self.requests,
            desc="checking the store",
            unit="edit",
            leave=False,
            delay=2,
            shown=self.settings.progress,
        ) as bar:
            for number, request in enumerate(bar):
                attempt, is_made = self._first_good(request)
                keys.append(attempt.key if attempt else None)
                if attempt and attempt.key not in seen:
                    seen.add(attempt.key)
                    if not is_made:
                        todo.append(number)
        return keys, todo

    def fill(self) -> list[str | None]:
        """Make the edits that the store lacks, and return the key of every request.

        What killed writers have left in the store is removed first.

        Raises:
            ValueError, OSError: As `make_missing`.
        """
        self.store.remove_abandoned()
        return self.make_missing()

    def make_missing(self) -> list[str | None]:
        """Make the edits that the store lacks, and return the key of every request.

        Raises:
            ValueError: The editor refuses a prompt, or an image is no longer what it was when
                its digest was taken.
            OSError: The disk is full or not writable; what is stored stays good.
        """
        keys, todo = self.missing()
        if not todo:
            return keys
        lacking = todo
        with show_progress(
            total=len(todo), desc="editing", unit="image", shown=self.settings.progress
        ) as bar:
            # Each round makes an attempt of each, unless another process has made it.
            for _ in range(1 + self.settings.redraws):
                again: list[int] = []
                for batch in self.batches(todo):
                    verdicts = self._make(batch)
                    again += [number for number, verdict in verdicts.items() if verdict.reason]
                    self.rejected.update(v.reason for v in verdicts.values() if v.reason)
                    bar.update(len(batch) - sum(bool(v.reason) for v in verdicts.values()))
                    bar.set_postfix(self.rejected, refresh=False)
                todo = again
        return self._keys_now(keys, {keys[number] for number in lacking})

    def _keys_now(
        self, keys: Sequence[str | None], lacked: Collection[str | None]
    ) -> list[str | None]:
        """Return the key of each request; only edits that were lacking are looked at again."""
        now = list(keys)
        for number, key in enumerate(keys):
            if key in lacked:
                attempt, _ = self._first_good(self.requests[number])
                now[number] = attempt.key if attempt else None
        return now

    def batches(self, numbers: Sequence[int]) -> Iterator[list[tuple[int, Tensor]]]:
        """Yield batches of (request number, image) that the editor takes together."""
        items = ((number, self.originals.images[self.requests[number].image]) for number in numbers)
        return batches(items, self.settings.batch_size, self.editor.group)

    def _first_good(self, request: Request) -> tuple[Attempt | None, bool]:
        """Return a request's first attempt that was not rejected, and whether it is finished.

        None where the request's seed and `redraws` more were rejected (and no later attempt is
        stored, where that may serve).
        """
        digest = self.originals.digests[request.image]
        for attempt in attempts(digest, request.prompt, request.seed, self.editor.fingerprint):
            reason = self.standing.reason(attempt.key)
            within = attempt.number <= self.settings.redraws
            if reason is None:
                return (attempt, False) if within else (None, True)
            if not reason and (within or self.standing.any_attempt):
                return attempt, True
        raise AssertionError("attempts do not end")

    def _make(self, batch: list[tuple[int, Tensor]]) -> dict[int, Verdict]:
        """Make what a batch lacks and judge it; return the verdict on each request's attempt."""
        opened = self._still_open(batch)
        if not opened:
            return {}
        edits, fresh = self._edits(opened)
        verdicts = judged_each(self.settings.screen, [each.image for each in opened], edits)
        pairs = list(zip(opened, verdicts, strict=True))
        records = [self._record(each.number, each.attempt, verdict) for each, verdict in pairs]
        self.store.record(records)
        written = {records[k]["key"]: edits[k] for k in fresh}
        self.store.write(written, {record["key"] for record in records if self._refuses(record)})
        for record in records:
            self.standing.note(record["key"], record["reason"])
        return {each.number: verdict for each, verdict in pairs}

    def _still_open(self, batch: list[tuple[int, Tensor]]) -> list[_Open]:
        """Return what is left to do: another process may have made, or rejected, some meanwhile."""
        opened = []
        for number, image in batch:
            index = self.requests[number].image
            if image_digest(image) != self.originals.digests[index]:
                raise ValueError(
                    f"image {self.originals.names[index]} changed in the meantime: run this again"
                )
            attempt, is_made = self._first_good(self.requests[number])
            if attempt and not is_made:
                opened.append(_Open(number, image, attempt))
        return opened

    def _edits(self, batch: list[_Open]) -> tuple[list[Tensor], Sequence[int]]:
        """Return the edits of a batch, and which are new: others wait for a verdict alone."""
        stored = {
            k: self.store.read_any(each.attempt.key)
            for k, each in enumerate(batch)
            if self.standing.judged_by and self.store.has_any(each.attempt.key)
        }
        fresh = [k for k in range(len(batch)) if k not in stored]
        made: list[Tensor] = []
        if fresh:
            images = [batch[k].image for k in fresh]
            prompts = [self.requests[batch[k].number].prompt for k in fresh]
            made = self.editor.edit_each(images, prompts, [batch[k].attempt.seed for k in fresh])
        edits = stored | dict(zip(fresh, made, strict=True))
        return [edits[k] for k in range(len(batch))], fresh

    def _record(self, number: int, attempt: Attempt, verdict: Verdict) -> dict[str, Any]:
        """Return the manifest's line on an attempt; see `EditStore.entries`."""
        request, by = self.requests[number], self.standing.judged_by
        return {
            "key": attempt.key,
            "image": self.originals.digests[request.image],
            "source": str(self.originals.names[request.image]),
            **self.originals.origin,
            "prompt": request.prompt,
            "seed": attempt.seed,
            "editor": self.editor.fingerprint,
            "attempt": attempt.number,
            "reason": verdict.reason,
            "scores": verdict.scores,
            **({"screen": by} if by else {}),
        }

    def _refuses(self, record: Mapping[str, Any]) -> bool:
        """Return whether a new edit belongs among the rejected, as a broken edit of them does."""
        is_kept = bool(self.standing.judged_by) and self.store.find_rejected(record["key"])
        return bool(record["reason"] or is_kept)


def judged_each(
    screen: Screen | None, originals: Sequence[Tensor], edits: Sequence[Tensor]
) -> list[Verdict]:
    """Return the verdict on each edit of an original, uint8 [3, H, W] both, of any sizes."""
    if screen is None:
        return [Verdict("", {})] * len(edits)
    verdicts: dict[int, Verdict] = {}
    for batch in batches(enumerate(originals), len(edits)):
        numbers = [k for k, _ in batch]
        before = torch.stack([original for _, original in batch])
        after = torch.stack([edits[k] for k in numbers])
        verdicts |= zip(numbers, screen(before, after), strict=True)
    return [verdicts[k] for k in range(len(edits))]
