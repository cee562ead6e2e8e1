"""Files written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from genmix_aug.files import (
    ReadError,
    append,
    atomic_path,
    flush,
    read_bytes,
    read_text,
    remove_abandoned,
    writing,
)

__all__ = [
    "ReadError",
    "append",
    "atomic_path",
    "check_writable",
    "flush",
    "locked",
    "read_bytes",
    "read_text",
    "remove_abandoned",
    "write_json",
    "write_text",
    "writing",
]


def write_text(path: Path, text: str, errors: str = "backslashreplace") -> None:
    """Write ``text`` as UTF-8. OSError naming ``path`` where it cannot be written.

    Bytes of no encoding, which names of files may have, are written as ``\\udce9``, for people;
    with ``errors="surrogateescape"`` as they are, for files that are read again.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=errors)


def write_json(path: Path, values: Any, newline: bool = True) -> None:
    """Write ``values`` as a line of JSON."""
    write_text(path, json.dumps(values) + ("\n" if newline else ""))


@contextmanager
def locked(path: Path, key: str = "--runs") -> Iterator[None]:
    """Hold the lock file ``path`` within the block; other processes wait for it.

    The system frees that of a killed process, and the holder removes the file. Raises ValueError
    that begins with ``key``, the option that names the folder, where it takes no locks.
    """
    lock = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"{key}: files in {path.parent} cannot be locked ({reason}); name a folder on another "
            "disk"
        ) from None
    try:
        yield
    finally:
        with suppress(OSError):  # filelock sees to it that nobody takes a removed file for a lock
            path.unlink()
        lock.release()


def locked_for_change(path: Path) -> AbstractContextManager[None]:
    """Return a context in which no other process reads, changes and writes ``path``."""
    return locked(path.parent / ".lock")


def check_writable(path: Path) -> None:
    """Raise ValueError naming ``path`` where no file can be written: before the work, not after."""
    if path.is_dir():
        raise ValueError(f"{path}: a folder; name a file")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise ValueError(f"{path}: cannot be written, as nothing may be put into {parent}")
