"""Edits on disk: content-addressed, written atomically, resumable, shared between processes.

    ROOT/ab/ab12….png            one edit, named by the hash of image, prompt, seed and editor
    ROOT/rejected/ab/ab34….png   one that screening rejected: for people to look at, never served
    ROOT/manifest/*.jsonl        one file for each writer; a line says where an edit came from

A line is written before its edit, so every edit is accounted for; a line without an edit is
that of a writer which was stopped in between, and is passed over. A writer holds a lock on its
manifest file while it lives, so that others know whose temporary files are abandoned.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.codec import SUFFIXES, decode, encode, is_whole
from genmix_aug.edit_plan import Attempt, Request, attempts, image_digest
from genmix_aug.editors.base import Editor
from genmix_aug.screening import Verdict

try:
    import fcntl
except ImportError:  # not a Unix: abandoned files are then told by their age
    fcntl = None  # type: ignore[assignment]

STALE_SECONDS = 3600  # a temporary file this old is abandoned, where its writer cannot be asked
REDRAWS = 3  # further seeds to try where an edit is rejected

Digests = Sequence[str] | Mapping[int, str]
Screen = Callable[[Tensor, Tensor], Sequence[Verdict]]


class MissingEditError(OSError):
    """The store has no such edit."""


class BrokenEditError(MissingEditError):
    """The store's file of this edit is truncated or damaged; filling the store makes it anew."""


class Images(Protocol):
    """Anything indexable by image number that gives uint8 [3, H, W]."""

    def __getitem__(self, index: int, /) -> Tensor: ...


class EditStore:
    """A folder of edits. Opening it reads and writes nothing.

    Args:
        root: the store's folder; made when the first edit is written.
        image_format: of the edits it will write, png or jpeg (quality 95, 4:4:4: a fifth of the
            space, within a few grey levels); it reads both.

    Raises:
        ValueError: another format.
    """

    def __init__(self, root: Path | str, image_format: str = "png") -> None:
        if image_format not in SUFFIXES:
            raise ValueError(f"image format {image_format!r}: choose from {', '.join(SUFFIXES)}")
        self.root = Path(root)
        self.image_format = image_format
        self._manifest: TextIO | None = None
        self._writer = 0  # the process that owns the manifest file: a fork takes one of its own

    def __reduce__(self) -> tuple[Any, ...]:
        return EditStore, (self.root, self.image_format)  # worker processes open their own

    def path(self, key: str, rejected: bool = False) -> Path:
        """Where the edit of this key would be written."""
        return self._stem(key, rejected).with_suffix(SUFFIXES[self.image_format])

    def find(self, key: str) -> Path | None:
        """The file of this accepted edit, of either format, or None."""
        return self._find(key, rejected=False)

    def find_rejected(self, key: str) -> Path | None:
        """The file of this edit that screening rejected, or None."""
        return self._find(key, rejected=True)

    def _stem(self, key: str, rejected: bool) -> Path:
        return (self.root / "rejected" if rejected else self.root) / key[:2] / key

    def _find(self, key: str, rejected: bool) -> Path | None:
        stem = self._stem(key, rejected)
        paths = (stem.with_suffix(suffix) for suffix in SUFFIXES.values())
        return next((path for path in paths if path.is_file()), None)

    def has(self, key: str) -> bool:
        """Whether the accepted edit is there and whole (checksums, not only the name)."""
        return _is_whole_file(self.find(key))

    def read(self, key: str) -> Tensor:
        """The accepted edit, uint8 [3, H, W].

        Raises:
            MissingEditError: there is none.
            BrokenEditError: its file is truncated or damaged.
        """
        path = self.find(key)
        if path is None:
            raise MissingEditError(f"edit {key} is not in the store {self.root}")
        edit = decode(path.read_bytes())
        if edit is None:
            raise BrokenEditError(f"edit {path} is truncated or damaged: fill the store again")
        return edit

    def served(self, digest: str, prompt: str, seed: int, fingerprint: str) -> str | None:
        """The key of the edit that stands for a request: its first attempt that was accepted.

        None where every attempt made so far was rejected.

        Raises:
            MissingEditError: no attempt has been made.
        """
        for attempt in attempts(digest, prompt, seed, fingerprint):
            if self.find(attempt.key):
                return attempt.key
            if not self.find_rejected(attempt.key):
                break
        if attempt.number:
            return None
        raise MissingEditError(
            f"the store {self.root} has no edit of this image under {prompt!r} by {fingerprint}"
        )

    def write(self, edits: Mapping[str, Tensor], rejected: Collection[str] = ()) -> None:
        """Puts edits, uint8 [3, H, W] by key, into the store: each whole or not at all.

        Args:
            rejected: those of the keys that screening rejected; they are kept apart.

        Raises:
            OSError: the disk is full or not writable; nothing half-written is left.
        """
        writer = Path(self._manifest_file().name).stem
        temporary: dict[Path, Path] = {}
        try:
            for key, edit in edits.items():
                path = self.path(key, key in rejected)
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary[path] = path.with_name(f".{key}.{writer}.tmp")
                temporary[path].write_bytes(encode(edit, self.image_format))
            # All written before any is flushed: the disk then takes them together.
            for written in temporary.values():
                _flush(written)
            for path in list(temporary):
                os.replace(temporary[path], path)
                del temporary[path]
        finally:
            for left in temporary.values():
                left.unlink(missing_ok=True)

    def annotate(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Puts records of `entries`, with other scores, in the place of those in the manifest."""
        now = round(time.time(), 3)
        self._record([{**record, "time": now} for record in records])

    def reject(self, record: Mapping[str, Any], reason: str) -> None:
        """Takes an accepted edit out of service, keeping its file among the rejected ones.

        Args:
            record: of the edit, from `entries`.
            reason: one of `genmix_aug.screening.REASONS`.
        """
        path = self.find(record["key"])
        if path is None:
            return
        moved = self._stem(record["key"], rejected=True).with_suffix(path.suffix)
        moved.parent.mkdir(parents=True, exist_ok=True)
        self.annotate([{**record, "reason": reason}])
        os.replace(path, moved)

    def keys(self) -> list[str]:
        """The keys of all accepted edits' files, sorted."""
        return self._keys(self.root)

    def rejected_keys(self) -> list[str]:
        """The keys of all rejected edits' files, sorted."""
        return self._keys(self.root / "rejected")

    def _keys(self, folder: Path) -> list[str]:
        found = folder.glob("[0-9a-f][0-9a-f]/[0-9a-f]*.*")
        return sorted(path.stem for path in found if path.suffix in SUFFIXES.values())

    def entries(self) -> Iterator[dict[str, Any]]:
        """The manifest's record of each edit that is there, accepted or rejected.

        key, image (`image_digest` of the original), source (the original's name) and folder (it
        is relative to; "" if unknown), prompt, seed, editor, time (unix, s), attempt (0 for the
        request's own seed), reason (why it was rejected; "" if accepted) and scores.
        """
        records: dict[tuple[str, bool], dict[str, Any]] = {}
        for file in sorted((self.root / "manifest").glob("*.jsonl")):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue  # a writer was killed within this line
                place = record["key"], bool(record["reason"])
                if place not in records or records[place]["time"] < record["time"]:
                    records[place] = record
        # Where a file lies is the verdict: a line may be ahead of it by a writer's death.
        for (key, rejected), record in records.items():
            if self._find(key, rejected) and not (rejected and self.find(key)):
                yield record

    def sweep(self, older_than_s: float = STALE_SECONDS) -> int:
        """Removes temporary files of writers that are dead, or too old; the number removed."""
        removed = 0
        alive: dict[str, bool | None] = {}
        for path in [*self.root.glob("??/.*.tmp"), *self.root.glob("rejected/??/.*.tmp")]:
            writer = path.name.split(".")[2]
            if writer not in alive:
                alive[writer] = _is_locked(self.root / "manifest" / f"{writer}.jsonl")
            try:
                too_old = time.time() - path.stat().st_mtime >= older_than_s
                if alive[writer] is False or (alive[writer] is None and too_old):
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its writer, or another sweep, was quicker
        return removed

    def missing(
        self,
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
                attempt, made = self._standing(digests[index], prompt, seed, fingerprint, redraws)
                keys.append(attempt.key if attempt else None)
                if attempt and attempt.key not in seen:
                    seen.add(attempt.key)
                    if not made:
                        todo.append(number)
        return keys, todo

    def _standing(
        self, digest: str, prompt: str, seed: int, fingerprint: str, redraws: int
    ) -> tuple[Attempt | None, bool]:
        """A request's first attempt that was not rejected, and whether it is there.

        None where the request's own seed and all `redraws` were rejected.
        """
        for attempt in islice(attempts(digest, prompt, seed, fingerprint), 1 + redraws):
            if self.has(attempt.key):
                return attempt, True
            if not _is_whole_file(self.find_rejected(attempt.key)):
                return attempt, False
        return None, True

    def fill(
        self,
        editor: Editor,
        images: Images,
        names: Sequence[str],
        requests: Sequence[Request],
        batch_size: int = 16,
        progress: bool = False,
        digests: Digests | None = None,
        screen: Screen | None = None,
        redraws: int = REDRAWS,
        folder: Path | str = "",
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
            folder: where the images lie, for the manifest, so that they can be found again.

        Raises:
            ValueError: `batch_size` is less than 1, or the editor refuses a prompt.
            OSError: the disk is full or not writable; what is there stays good.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        if digests is None:
            digests = _digests(images, requests)
        self.sweep()
        wanted = (images, requests, editor.fingerprint)
        keys, todo = self.missing(*wanted, progress, digests, redraws)
        if not todo:
            return keys
        rejected: Counter[str] = Counter()
        with tqdm(
            total=len(todo), desc="editing", unit="image", disable=None if progress else True
        ) as bar:
            while todo:
                again: list[int] = []
                for batch in batches(images, requests, todo, batch_size):
                    fresh = self._still_missing(batch, *wanted[1:], digests, redraws)
                    verdicts = self._make(editor, fresh, names, requests, digests, screen, folder)
                    again += [number for number, verdict in verdicts.items() if verdict.reason]
                    rejected.update(v.reason for v in verdicts.values() if v.reason)
                    bar.update(len(batch) - sum(bool(v.reason) for v in verdicts.values()))
                    bar.set_postfix(rejected, refresh=False)
                todo = again
        return self.missing(*wanted, False, digests, redraws)[0]

    def _still_missing(
        self,
        batch: list[tuple[int, Tensor]],
        requests: Sequence[Request],
        fingerprint: str,
        digests: Digests,
        redraws: int,
    ) -> list[tuple[int, Tensor, Attempt]]:
        """What to make now: another process may have made, or rejected, some meanwhile."""
        found = []
        for number, image in batch:
            index, prompt, seed = requests[number]
            attempt, made = self._standing(digests[index], prompt, seed, fingerprint, redraws)
            if attempt and not made:
                found.append((number, image, attempt))
        return found

    def _make(
        self,
        editor: Editor,
        batch: list[tuple[int, Tensor, Attempt]],
        names: Sequence[str],
        requests: Sequence[Request],
        digests: Digests,
        screen: Screen | None,
        folder: Path | str,
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
                    "folder": str(Path(folder).absolute()) if folder else "",
                    "prompt": prompt,
                    "seed": attempt.seed,
                    "editor": editor.fingerprint,
                    "time": round(time.time(), 3),
                    "attempt": attempt.number,
                    "reason": verdict.reason,
                    "scores": verdict.scores,
                }
            )
        self._record(records)
        self.write(
            {record["key"]: edit for record, edit in zip(records, edits, strict=True)},
            {record["key"] for record in records if record["reason"]},
        )
        numbers = [number for number, _, _ in batch]
        return dict(zip(numbers, verdicts, strict=True))

    def _record(self, records: list[dict[str, Any]]) -> None:
        """Appends lines to this writer's own manifest file, so that writers never interleave."""
        file = self._manifest_file()
        try:
            file.writelines(json.dumps(record) + "\n" for record in records)
            file.flush()
        except OSError:
            # Part of a line may be there: what comes next must not be glued to it.
            self._manifest = None
            raise

    def _manifest_file(self) -> TextIO:
        """This process's manifest file, locked for as long as it lives."""
        if self._manifest is None or self._writer != os.getpid():
            folder = self.root / "manifest"
            folder.mkdir(parents=True, exist_ok=True)
            host = "".join(c for c in socket.gethostname() if c.isalnum()) or "host"
            name = f"{host}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            self._manifest = open(folder / name, "a", encoding="utf-8")  # noqa: SIM115
            self._writer = os.getpid()
            if fcntl:
                with suppress(OSError):  # a disk without locks
                    fcntl.flock(self._manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._manifest


def _digests(images: Images, requests: Sequence[Request]) -> dict[int, str]:
    return {index: image_digest(images[index]) for index in {request[0] for request in requests}}


def batches(
    images: Images, requests: Sequence[Request], todo: list[int], batch_size: int
) -> Iterator[list[tuple[int, Tensor]]]:
    """Batches of (request number, image) of one size each; few images are held at a time."""
    waiting: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
    held = 0
    for number in todo:
        image = images[requests[number][0]]
        shape = tuple(image.shape)
        waiting.setdefault(shape, []).append((number, image))
        held += 1
        full = len(waiting[shape]) >= batch_size
        if full or held >= 8 * batch_size:
            # Where sizes are many and no batch fills up, the fullest goes as it is.
            shape = shape if full else max(waiting, key=lambda known: len(waiting[known]))
            batch = waiting.pop(shape)
            held -= len(batch)
            yield batch
    yield from waiting.values()


def _is_whole_file(path: Path | None) -> bool:
    try:
        return path is not None and is_whole(path.read_bytes())
    except FileNotFoundError:
        return False  # moved or swept a moment ago


def _is_locked(path: Path) -> bool | None:
    """Whether a living writer holds this manifest file; None where that cannot be told."""
    try:
        with open(path, "rb") as file:
            if not fcntl:
                return None
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return None


def _flush(path: Path) -> None:
    """Waits until a file's bytes are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
