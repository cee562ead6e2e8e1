"""Edits on disk: content-addressed, written atomically, resumable, shared between processes.

    ROOT/ab/ab12….png            an edit, named by the hash of image, prompt, seed and editor
    ROOT/rejected/ab/ab34….png   a rejected edit: for people to look at, never served
    ROOT/manifest/*.jsonl        a file for each writer; a line says where an edit came from

A line is written before its edit, so every edit is accounted for; a line without an edit is
that of a writer which was stopped in between, and is passed over. A writer holds a lock on its
manifest file while it lives, so that others know whose temporary files are abandoned.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from genmix_aug.codec import SUFFIXES, decode, encode, is_whole
from genmix_aug.edits.keys import attempts
from genmix_aug.files import (
    STALE_SECONDS,
    append,
    flush,
    host,
    read_bytes,
    reading,
    writing,
)

try:
    import fcntl
except ImportError:  # not a Unix: abandoned files are then known by their age
    fcntl = None  # type: ignore[assignment]

# What each record of the manifest has at least.
RECORD: dict[str, type | tuple[type, ...]] = {"key": str, "reason": str, "time": (int, float)}
# … and what it may have.
OPTIONAL: dict[str, type] = {
    "folder": str,
    "screen": str,
    "scores": dict,
    "square_px": int,
    "attempt": int,
    "seed": int,
}
MOST_PX = 100_000  # of a square that an original was read as
ABOUT_EDIT = ("image", "source", "prompt", "editor")  # texts that the record of an edit has, too
KEY = re.compile(r"[0-9a-f]+")


class MissingEditError(OSError):
    """The store has no such edit."""


class BrokenEditError(MissingEditError):
    """The store's file of this edit is truncated or damaged; filling the store makes it anew."""


class EditStore:
    """A folder of edits. Opening it reads and writes nothing.

    Args:
        root: The store's folder; made when the first edit is written.
        image_format: Of the edits it will write, png or jpeg (quality 95, 4:4:4: a fifth of the
            space, within a few grey levels); it reads both.

    Raises:
        ValueError: Another format.
    """

    def __init__(self, root: Path | str, image_format: str = "png") -> None:
        if image_format not in SUFFIXES:
            raise ValueError(f"image format {image_format!r}: choose from {', '.join(SUFFIXES)}")
        self.root = Path(root)
        self.image_format = image_format
        self._manifest: FileIO | None = None
        self._writer = 0  # the process that owns the manifest file: a fork opens another

    def __reduce__(self) -> tuple[Any, ...]:
        return EditStore, (self.root, self.image_format)  # worker processes open theirs

    def path(self, key: str, rejected: bool = False) -> Path:
        """Return the path at which the edit of this key would be written."""
        return self._stem(key, rejected).with_suffix(SUFFIXES[self.image_format])

    def find(self, key: str) -> Path | None:
        """Return the file of this accepted edit, of either format, or None."""
        return self._find(key, rejected=False)

    def find_rejected(self, key: str) -> Path | None:
        """Return the file of this rejected edit, or None."""
        return self._find(key, rejected=True)

    def _stem(self, key: str, rejected: bool) -> Path:
        return (self.root / "rejected" if rejected else self.root) / key[:2] / key

    def _find(self, key: str, rejected: bool) -> Path | None:
        # As texts: a store of millions is asked for each of them, and Path takes its time.
        stem = os.path.join(self.root, "rejected" if rejected else "", key[:2], key)
        names = (stem + suffix for suffix in SUFFIXES.values())
        return next((Path(name) for name in names if os.path.isfile(name)), None)

    def has(self, key: str) -> bool:
        """Return whether the accepted edit exists and is whole, by its checksums."""
        return _is_whole_file(self.find(key))

    def has_rejected(self, key: str) -> bool:
        """Return whether this edit was made and rejected and is whole."""
        return _is_whole_file(self.find_rejected(key))

    def read(self, key: str) -> Tensor:
        """Return the accepted edit, uint8 [3, H, W].

        Raises:
            MissingEditError: The store has no such edit.
            BrokenEditError: Its file is truncated or damaged.
        """
        return self._read(key, self.find(key))

    def has_any(self, key: str) -> bool:
        """Return whether the edit exists and is whole, accepted or rejected."""
        return self.has(key) or self.has_rejected(key)

    def read_any(self, key: str) -> Tensor:
        """Return the edit, uint8 [3, H, W], accepted or rejected, for those who judge themselves.

        Raises:
            MissingEditError, BrokenEditError: As `read`.
        """
        accepted, rejected = self.find(key), self.find_rejected(key)
        if rejected and not _is_whole_file(accepted):
            return self._read(key, rejected)
        return self._read(key, accepted)

    def _read(self, key: str, path: Path | None) -> Tensor:
        if path is None:
            raise MissingEditError(f"edit {key} is not in the store {self.root}")
        edit = decode(read_bytes(path))
        if edit is None:
            raise BrokenEditError(f"edit {path} is truncated or damaged: fill the store again")
        return edit

    def served(self, digest: str, prompt: str, seed: int, fingerprint: str) -> str | None:
        """Return the key of a request's edit: its first attempt that was accepted.

        None where every attempt made so far was rejected.

        Raises:
            MissingEditError: No attempt has been made.
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
        """Put edits into the store, each whole or not at all.

        Args:
            edits: uint8 [3, H, W] by key.
            rejected: Those of the keys that screening rejected; they are kept apart.

        Raises:
            OSError: The disk is full or not writable; nothing half-written is left.
        """
        writer = Path(self._manifest_file().name).stem
        temporary: dict[Path, Path] = {}
        try:
            for key, edit in edits.items():
                path = self.path(key, key in rejected)
                temporary[path] = path.with_name(f".{key}.{writer}.tmp")
                with writing(path, temporary[path]):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    temporary[path].write_bytes(encode(edit, self.image_format))
            # All written before any is flushed: the disk then takes them together.
            for path, written in temporary.items():
                with writing(path, written):
                    flush(written)
            for path in list(temporary):
                with writing(path, temporary[path]):
                    os.replace(temporary[path], path)
                del temporary[path]
                _remove(path.with_suffix(""), but=path)  # a broken file of the other format
            for key in edits:
                # A broken accepted edit would be read before the rejected edit, for ever.
                if key in rejected and not self.has(key):
                    _remove(self._stem(key, rejected=False))
        finally:
            for left in temporary.values():
                with suppress(OSError):  # a disk that fails may refuse this, too
                    left.unlink(missing_ok=True)

    def reject(self, record: Mapping[str, Any], reason: str) -> None:
        """Take an accepted edit out of service, keeping its file among the rejected.

        Args:
            record: Of the edit, from `entries`.
            reason: A member of `genmix_aug.screening.checks.REASONS`.
        """
        path = self.find(record["key"])
        if path is None:
            return
        moved = self._stem(record["key"], rejected=True).with_suffix(path.suffix)
        # Whichever screen had accepted it, this is not its verdict.
        kept = {name: value for name, value in record.items() if name != "screen"}
        self.record([{**kept, "reason": reason}])
        with writing(moved, path):
            moved.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, moved)

    def keys(self) -> list[str]:
        """Return the keys of all accepted edits' files, sorted."""
        return self._keys(self.root)

    def rejected_keys(self) -> list[str]:
        """Return the keys of all rejected edits' files, sorted."""
        return self._keys(self.root / "rejected")

    def _keys(self, folder: Path) -> list[str]:
        files = folder.glob("[0-9a-f][0-9a-f]/[0-9a-f]*.*")
        return sorted(path.stem for path in files if path.suffix in SUFFIXES.values())

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield the manifest's record of each stored edit, accepted or rejected.

        A record has key, image (`image_digest` of the original), source (the original's name),
        prompt, seed, editor, time (unix, s), attempt (0 for the request's seed), reason (why it was
        rejected; "" if accepted) and scores; where it is known, folder (what source is relative
        to), square_px (see `genmix_aug.images.load_rgb`) and screen (see
        `genmix_aug.edits.verdicts.verdicts`). Millions of them take little memory: the manifest is
        read twice, and only repeated ones are kept, to choose the latest.
        """
        files = self._manifest_sizes()
        numbers = array("Q", map(_number_of, self._records_of_edits(files)))
        counted, counts = np.unique(np.frombuffer(numbers, np.uint64), return_counts=True)
        del numbers
        repeated = set(counted[counts > 1].tolist())
        del counted, counts
        latest: dict[tuple[str, bool], dict[str, Any]] = {}
        for record in self._records_of_edits(files):
            if _number_of(record) not in repeated:
                if self._is_current(record):
                    yield record
                continue
            file = record["key"], bool(record["reason"])
            if file not in latest or latest[file]["time"] <= record["time"]:
                latest[file] = record
        yield from filter(self._is_current, latest.values())

    def _is_current(self, record: Mapping[str, Any]) -> bool:
        """Return whether an edit lies where its record says; a file's folder is the verdict.

        A line may be ahead of it by a writer's death.
        """
        key, rejected = record["key"], bool(record["reason"])
        return bool(self._find(key, rejected) and not (rejected and self.find(key)))

    def _records_of_edits(self, files: Mapping[Path, int]) -> Iterator[dict[str, Any]]:
        for record in self._lines(files):
            if all(isinstance(record.get(name), str) for name in ABOUT_EDIT):
                yield record

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield every record that was ever written, those of lost edits as well.

        What is no record is passed over: a writer was killed within the line, or somebody else
        wrote it.
        """
        return self._lines(self._manifest_sizes())

    def _manifest_sizes(self) -> dict[Path, int]:
        """Return the files of the manifest, with their sizes in bytes: others may append."""
        files = sorted((self.root / "manifest").glob("*.jsonl"))
        return {file: file.stat().st_size for file in files}

    def _lines(self, files: Mapping[Path, int]) -> Iterator[dict[str, Any]]:
        for path, size in files.items():
            with reading(path), open(path, "rb") as file:
                for line in file:
                    if (size := size - len(line)) < 0:
                        break  # appended since
                    record = _parsed(line)
                    if record is not None:
                        yield record

    def remove_abandoned(self, older_than_s: float = STALE_SECONDS) -> int:
        """Remove temporary files of writers that are dead, or too old; return their number.

        Whether a writer is dead is asked on its machine alone: a lock across machines may seem
        free while it is taken. Elsewhere age decides.
        """
        removed = 0
        alive: dict[str, bool | None] = {}
        for path in [*self.root.glob("??/.*.tmp"), *self.root.glob("rejected/??/.*.tmp")]:
            writer = path.name.split(".")[2]
            if writer not in alive:
                manifest = self.root / "manifest" / f"{writer}.jsonl"
                alive[writer] = _is_locked(manifest) if writer.split("-")[0] == host() else None
            try:
                too_old = time.time() - path.stat().st_mtime >= older_than_s
                if alive[writer] is False or (alive[writer] is None and too_old):
                    path.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # its writer, or another process, was quicker
        return removed

    def record(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append to the manifest, with the time; see `entries`. The latest of a key counts.

        Each writer has a separate file, so that their lines never interleave.
        """
        file, now = self._manifest_file(), round(time.time(), 3)
        lines = [json.dumps({**record, "time": now}) + "\n" for record in records]
        try:
            with writing(Path(file.name)):
                append(file, "".join(lines).encode())
        except OSError:
            # Part of a line may be written: what comes next must not be glued to it.
            self._manifest = None
            raise

    def _manifest_file(self) -> FileIO:
        """Return this process's manifest file, locked for as long as it lives."""
        if self._manifest is None or self._writer != os.getpid():
            folder = self.root / "manifest"
            path = folder / f"{host()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            with writing(path):
                folder.mkdir(parents=True, exist_ok=True)
                self._manifest = open(path, "ab", buffering=0)  # noqa: SIM115
            self._writer = os.getpid()
            if fcntl:
                with suppress(OSError):  # a disk without locks
                    fcntl.flock(self._manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._manifest


def _is_record(record: Mapping[str, Any]) -> bool:
    """Return whether a line of a manifest has the values of one, of their types."""
    return (
        all(isinstance(record.get(name), kind) for name, kind in RECORD.items())
        and all(isinstance(record.get(name, kind()), kind) for name, kind in OPTIONAL.items())
        and bool(KEY.fullmatch(record["key"]))  # it names files
        and 0 <= record.get("square_px", 0) <= MOST_PX
    )


def _parsed(line: bytes) -> dict[str, Any] | None:
    """Return the record in a line of the manifest; None if it is not one."""
    try:
        record = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and _is_record(record) else None


def _number_of(record: Mapping[str, Any]) -> int:
    """Return 61 bits of a record's key and verdict; others' are the same once in 10^18."""
    return 2 * int(record["key"][:15], 16) + bool(record["reason"])


def _remove(stem: Path, but: Path | None = None) -> None:
    """Remove the files of an edit, of any format, except `but`."""
    for suffix in SUFFIXES.values():
        if (path := stem.with_suffix(suffix)) != but:
            path.unlink(missing_ok=True)


def _is_whole_file(path: Path | None) -> bool:
    try:
        return path is not None and is_whole(read_bytes(path))
    except FileNotFoundError:
        return False  # moved or swept a moment ago


def _is_locked(path: Path) -> bool | None:
    """Return whether a living writer has locked this manifest file; None if nobody can say."""
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
