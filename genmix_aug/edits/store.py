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
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from torch import Tensor

from genmix_aug.codec import SUFFIXES, decode, encode, is_whole
from genmix_aug.edits.keys import attempts
from genmix_aug.files import STALE_SECONDS, host

try:
    import fcntl
except ImportError:  # not a Unix: abandoned files are then told by their age
    fcntl = None  # type: ignore[assignment]

# What each record of the manifest has at least.
RECORD: dict[str, type | tuple[type, ...]] = {"key": str, "reason": str, "time": (int, float)}


class MissingEditError(OSError):
    """The store has no such edit."""


class BrokenEditError(MissingEditError):
    """The store's file of this edit is truncated or damaged; filling the store makes it anew."""


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

    def has_rejected(self, key: str) -> bool:
        """Whether this edit was made, rejected and is whole."""
        return _is_whole_file(self.find_rejected(key))

    def read(self, key: str) -> Tensor:
        """The accepted edit, uint8 [3, H, W].

        Raises:
            MissingEditError: there is none.
            BrokenEditError: its file is truncated or damaged.
        """
        return self._read(key, self.find(key))

    def has_any(self, key: str) -> bool:
        """Whether the edit is there and whole, accepted or rejected."""
        return self.has(key) or self.has_rejected(key)

    def read_any(self, key: str) -> Tensor:
        """The edit, uint8 [3, H, W], whether it was accepted or rejected.

        For those who judge for themselves.

        Raises:
            MissingEditError, BrokenEditError: as `read`.
        """
        accepted, rejected = self.find(key), self.find_rejected(key)
        if rejected and not _is_whole_file(accepted):
            return self._read(key, rejected)
        return self._read(key, accepted)

    def _read(self, key: str, path: Path | None) -> Tensor:
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
                for suffix in SUFFIXES.values():  # a broken file of the other format
                    if suffix != path.suffix:
                        path.with_suffix(suffix).unlink(missing_ok=True)
            for key in edits:
                # A broken accepted one would be found before the rejected one, for ever.
                if key in rejected and not self.has(key):
                    for suffix in SUFFIXES.values():
                        self._stem(key, rejected=False).with_suffix(suffix).unlink(missing_ok=True)
        finally:
            for left in temporary.values():
                left.unlink(missing_ok=True)

    def reject(self, record: Mapping[str, Any], reason: str) -> None:
        """Takes an accepted edit out of service, keeping its file among the rejected ones.

        Args:
            record: of the edit, from `entries`.
            reason: one of `genmix_aug.screening.checks.REASONS`.
        """
        path = self.find(record["key"])
        if path is None:
            return
        moved = self._stem(record["key"], rejected=True).with_suffix(path.suffix)
        moved.parent.mkdir(parents=True, exist_ok=True)
        # Whichever screen had accepted it, this is not its verdict.
        kept = {name: value for name, value in record.items() if name != "screen"}
        self.record([{**kept, "reason": reason}])
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

        key, image (`image_digest` of the original), source (the original's name), prompt, seed,
        editor, time (unix, s), attempt (0 for the request's own seed), reason (why it was
        rejected; "" if accepted) and scores; where it is known, folder (what source is relative
        to), square_px (see `genmix_aug.images.load_rgb`) and screen (see
        `genmix_aug.edits.verdicts.verdicts`).
        """
        records: dict[tuple[str, bool], dict[str, Any]] = {}
        for record in self.lines():
            place = record["key"], bool(record["reason"])
            if place not in records or records[place]["time"] < record["time"]:
                records[place] = record
        # Where a file lies is the verdict: a line may be ahead of it by a writer's death.
        for (key, rejected), record in records.items():
            if self._find(key, rejected) and not (rejected and self.find(key)):
                yield record

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every record that was ever written, those of edits that are gone as well.

        What is no record is passed over: a writer was killed within the line, or somebody else
        wrote it.
        """
        for file in sorted((self.root / "manifest").glob("*.jsonl")):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict) and all(
                    isinstance(record.get(name), kind) for name, kind in RECORD.items()
                ):
                    yield record

    def sweep(self, older_than_s: float = STALE_SECONDS) -> int:
        """Removes temporary files of writers that are dead, or too old; the number removed.

        Whether a writer is dead is asked on its own machine alone: a lock across machines may
        seem free while it is held. Elsewhere age tells.
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
                continue  # its writer, or another sweep, was quicker
        return removed

    def record(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Appends to the manifest, with the time; see `entries`. The latest of a key counts.

        Each writer has a file of its own, so that their lines never interleave.
        """
        file, now = self._manifest_file(), round(time.time(), 3)
        try:
            file.writelines(json.dumps({**record, "time": now}) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            # Part of a line may be there: what comes next must not be glued to it.
            self._manifest = None
            raise

    def _manifest_file(self) -> TextIO:
        """This process's manifest file, locked for as long as it lives."""
        if self._manifest is None or self._writer != os.getpid():
            folder = self.root / "manifest"
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{host()}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            self._manifest = open(folder / name, "a", encoding="utf-8")  # noqa: SIM115
            self._writer = os.getpid()
            if fcntl:
                with suppress(OSError):  # a disk without locks
                    fcntl.flock(self._manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._manifest


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
