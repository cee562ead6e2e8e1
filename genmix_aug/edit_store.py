"""Edits on disk: content-addressed, written atomically, resumable, shared between processes.

    ROOT/ab/ab12….png            one edit, named by the hash of image, prompt, seed and editor
    ROOT/manifest/*.jsonl        one file for each writer; a line says where an edit came from

A line is written before its edit, so every edit is accounted for; a line without an edit is
that of a writer which was stopped in between, and is passed over.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from genmix_aug.editors.base import Editor
from genmix_aug.prompts import prompts_for_image
from genmix_aug.seeding import hash_seed

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
STALE_SECONDS = 3600  # a temporary file this old belongs to a writer that was killed

Request = tuple[int, str, int]


class MissingEditError(OSError):
    """The store has no such edit."""


class BrokenEditError(MissingEditError):
    """The store's file of this edit is truncated or damaged; filling the store makes it anew."""


class Images(Protocol):
    """Anything indexable by image number that gives uint8 [3, H, W]."""

    def __getitem__(self, index: int, /) -> Tensor: ...


def image_digest(image: Tensor) -> str:
    """Hash of an image's size and pixels, uint8 [3, H, W].

    Raises:
        ValueError: another dtype or shape.
    """
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"an image must be uint8 [3, H, W], not {image.dtype} {[*image.shape]}")
    digest = blake2b(repr(tuple(image.shape)).encode(), digest_size=20)
    digest.update(image.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def edit_key(image: Tensor, prompt: str, seed: int, fingerprint: str) -> str:
    """The name of an edit: 40 hexadecimal digits from image content, prompt, seed and editor."""
    return _key(image_digest(image), prompt, seed, fingerprint)


def _key(digest: str, prompt: str, seed: int, fingerprint: str) -> str:
    parts = json.dumps([digest, prompt, int(seed), fingerprint])
    return blake2b(parts.encode(), digest_size=20).hexdigest()


def plan_edits(
    digests: Sequence[str], prompts: Sequence[str], per_image: int, seed: int = 0
) -> list[Request]:
    """The requests for `per_image` edits of each image, under different prompts while they last.

    Prompts and seeds depend on image content and `seed` alone, not on names or order: whoever
    asks for edits of the same pictures asks for the same edits. A larger `per_image` keeps the
    earlier requests.

    Args:
        digests: `image_digest` of each image.
        prompts: short prompts to choose from.
        per_image: edits of each image, 0 or more.
        seed: of the choice.

    Raises:
        ValueError: no prompts, one named twice, or `per_image` negative.
    """
    return [
        (index, prompt, hash_seed("edit", seed, digest, number))
        for index, digest in enumerate(digests)
        for number, prompt in enumerate(prompts_for_image(digest, prompts, per_image, seed))
    ]


class EditStore:
    """A folder of edits. Opening it reads and writes nothing.

    Args:
        root: the store's folder; made when the first edit is written.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._manifest: Path | None = None
        self._writer = 0  # the process that owns the manifest file: a fork takes one of its own

    def path(self, key: str) -> Path:
        """Where the edit of this key is, or would be."""
        return self.root / key[:2] / f"{key}.png"

    def has(self, key: str) -> bool:
        """Whether the edit is there and whole (checksums, not only the name)."""
        try:
            return png_is_whole(self.path(key).read_bytes())
        except OSError:
            return False

    def read(self, key: str) -> Tensor:
        """The edit, uint8 [3, H, W].

        Raises:
            MissingEditError: there is none.
            BrokenEditError: its file is truncated or damaged.
        """
        path = self.path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise MissingEditError(f"edit {key} is not in the store {self.root}") from None
        pixels = None
        if png_is_whole(data):
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None:
            raise BrokenEditError(f"edit {path} is truncated or damaged: fill the store again")
        rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        return torch.from_numpy(rgb).permute(2, 0, 1).contiguous()

    def write(self, edits: Mapping[str, Tensor]) -> None:
        """Puts edits, uint8 [3, H, W] by key, into the store: each whole or not at all.

        Raises:
            OSError: the disk is full or not writable; nothing half-written is left.
        """
        temporary: dict[Path, Path] = {}
        try:
            for key, edit in edits.items():
                path = self.path(key)
                path.parent.mkdir(parents=True, exist_ok=True)
                name = f".{key}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
                temporary[path] = path.with_name(name)
                temporary[path].write_bytes(_png(edit))
            # All written before any is flushed: the disk then takes them together.
            for written in temporary.values():
                _flush(written)
            for path in list(temporary):
                os.replace(temporary[path], path)
                del temporary[path]
        finally:
            for left in temporary.values():
                left.unlink(missing_ok=True)

    def keys(self) -> list[str]:
        """The keys of all files in the store, sorted."""
        return sorted(path.stem for path in self.root.glob("[0-9a-f][0-9a-f]/*.png"))

    def entries(self) -> Iterator[dict[str, Any]]:
        """The manifest's record of each edit that is there: key, source, prompt, seed, editor."""
        seen: set[str] = set()
        for file in sorted((self.root / "manifest").glob("*.jsonl")):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue  # a writer was killed within this line
                key = record["key"]
                if key not in seen and self.path(key).is_file():
                    seen.add(key)
                    yield record

    def sweep(self, older_than_s: float = STALE_SECONDS) -> int:
        """Removes temporary files that killed writers left behind; the number removed."""
        removed = 0
        for path in self.root.glob("[0-9a-f][0-9a-f]/.*.tmp"):
            try:
                if time.time() - path.stat().st_mtime >= older_than_s:
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
        digests: Sequence[str] | None = None,
    ) -> tuple[list[str], list[int]]:
        """The key of each request, and the numbers of the requests still to be made.

        Requests that share a key are counted once. `digests`, where the caller knows the
        `image_digest` of each image already, saves reading the images.
        """
        keys: list[str] = []
        todo: list[int] = []
        known = dict(enumerate(digests)) if digests is not None else {}
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
                if index not in known:
                    known[index] = image_digest(images[index])
                key = _key(known[index], prompt, seed, fingerprint)
                keys.append(key)
                if key not in seen and not self.has(key):
                    todo.append(number)
                seen.add(key)
        return keys, todo

    def fill(
        self,
        editor: Editor,
        images: Images,
        names: Sequence[str],
        requests: Sequence[Request],
        batch_size: int = 16,
        progress: bool = False,
        digests: Sequence[str] | None = None,
    ) -> list[str]:
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

        Raises:
            ValueError: `batch_size` is less than 1, or the editor refuses a prompt.
            OSError: the disk is full or not writable; what is there stays good.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        keys, todo = self.missing(images, requests, editor.fingerprint, progress, digests)
        self.sweep()
        with tqdm(
            total=len(todo),
            desc="editing",
            unit="image",
            disable=None if progress and todo else True,
        ) as bar:
            for batch in _batches(images, requests, todo, batch_size):
                # Another process may have made some of them meanwhile.
                fresh = [entry for entry in batch if not self.has(keys[entry[0]])]
                if fresh:
                    self._make(editor, fresh, keys, names, requests)
                bar.update(len(batch))
        return keys

    def _make(
        self,
        editor: Editor,
        batch: list[tuple[int, Tensor]],
        keys: list[str],
        names: Sequence[str],
        requests: Sequence[Request],
    ) -> None:
        numbers = [number for number, _ in batch]
        edits = editor.edit(
            torch.stack([image for _, image in batch]),
            [requests[number][1] for number in numbers],
            [requests[number][2] for number in numbers],
        )
        records = []
        for number in numbers:
            index, prompt, seed = requests[number]
            records.append(
                {
                    "key": keys[number],
                    "source": str(names[index]),
                    "prompt": prompt,
                    "seed": seed,
                    "editor": editor.fingerprint,
                    "time": round(time.time(), 3),
                }
            )
        self._record(records)
        self.write({keys[number]: edit for number, edit in zip(numbers, edits, strict=True)})

    def _record(self, records: list[dict[str, Any]]) -> None:
        """Appends lines to this writer's own manifest file, so that writers never interleave."""
        folder = self.root / "manifest"
        if self._manifest is None or self._writer != os.getpid():
            folder.mkdir(parents=True, exist_ok=True)
            host = "".join(c for c in socket.gethostname() if c.isalnum()) or "host"
            name = f"{host}-{os.getpid()}-{secrets.token_hex(4)}.jsonl"
            self._manifest, self._writer = folder / name, os.getpid()
        with open(self._manifest, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)


def _batches(
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


def _png(edit: Tensor) -> bytes:
    """A PNG of an image uint8 [3, H, W], little compressed for speed."""
    pixels = edit.permute(1, 2, 0).contiguous().cpu().numpy()
    blue_first = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", blue_first, [cv2.IMWRITE_PNG_COMPRESSION, 2])[1].tobytes()


def _flush(path: Path) -> None:
    """Waits until a file's bytes are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def png_is_whole(data: bytes) -> bool:
    """Whether these bytes are a complete PNG: every chunk's checksum right, the last one IEND.

    Finds truncated and damaged files many times faster than decoding them.
    """
    if data[:8] != PNG_SIGNATURE:
        return False
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        length = int.from_bytes(view[at : at + 4], "big")
        end = at + 12 + length
        if end > len(data):
            return False
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            return False
        if view[at + 4 : at + 8] == b"IEND":
            return end == len(data)
        at = end
    return False
