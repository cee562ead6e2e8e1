"""A disk on which a single write, flush or rename fails."""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

CALLS = ("open", "write", "fsync", "rename", "mkdir")


class FailingDisk:
    """Lets the ``number``-th ``call`` for a file fail whose path ends as ``pattern`` says.

    Args:
        call: One of `CALLS`. A write that fails has written half of its bytes.
        error: Of `errno`.
        pattern: Of the end of the path, such as ``*.pt``; of a rename, of the new path. A file
            that is written whole has its suffix from the start, and its name by the rename.
        number: From 1.

    Attributes:
        failed: The path at which it failed; None if it did not.
        count: The calls so far.
    """

    def __init__(self, call: str, error: int, pattern: str = "*", number: int = 1) -> None:
        assert call in CALLS
        self.call, self.error, self.pattern, self.number = call, error, pattern, number
        self.count, self.failed = 0, None
        self.paths: dict[int, str] = {}  # of files opened to be written, by their numbers

    def fail(self, call: str, path: Any) -> OSError | None:
        """Return the error if ``call`` is the one that is to fail."""
        if call != self.call or not fnmatch(os.fsdecode(path), f"*{self.pattern}"):
            return None
        self.count += 1
        if self.count != self.number:
            return None
        self.failed = os.fsdecode(path)
        # As from the system: only what takes a path names it.
        name = None if call in ("write", "fsync") else self.failed
        return OSError(self.error, os.strerror(self.error), name)

    def check(self, call: str, path: Any) -> None:
        if error := self.fail(call, path):
            raise error


class _File(io.FileIO):
    disk: FailingDisk

    def write(self, data: Any) -> int:
        if error := self.disk.fail("write", self.name):
            super().write(memoryview(data).cast("B")[: memoryview(data).nbytes // 2])
            raise error
        return super().write(data)


@contextmanager
def failing_disk(
    call: str, error: int, pattern: str = "*", number: int = 1, below: Path | None = None
) -> Iterator[FailingDisk]:
    """Let a call fail within the block, as `FailingDisk` says, of files ``below`` a folder."""
    pattern = f"{below}/*{pattern}" if below else pattern
    disk = FailingDisk(call, error, pattern, number)
    opened, renamed, replaced, made, synced = io.open, os.rename, os.replace, os.mkdir, os.fsync

    def open_(file: Any, mode: str = "r", buffering: int = -1, *more: Any, **options: Any) -> Any:
        writes = set(mode) & set("wax+") and not isinstance(file, int)
        if not writes or not fnmatch(os.fsdecode(file), f"*{pattern}"):
            return opened(file, mode, buffering, *more, **options)
        disk.check("open", file)
        raw = _File(os.fsdecode(file), mode.replace("b", "").replace("t", ""))
        raw.disk = disk
        disk.paths[raw.fileno()] = os.fsdecode(file)
        if buffering == 0:
            return raw
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)  # type: ignore[operator]
        return buffered if "b" in mode else io.TextIOWrapper(buffered, *more, **options)

    def rename(old: Any, new: Any) -> None:
        disk.check("rename", new)
        renamed(old, new)

    def replace(old: Any, new: Any) -> None:
        disk.check("rename", new)
        replaced(old, new)

    def mkdir(path: Any, mode: int = 0o777) -> None:
        disk.check("mkdir", path)
        made(path, mode)

    def fsync(handle: int) -> None:
        disk.check("fsync", disk.paths.get(handle, ""))
        synced(handle)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", open_)
        patch.setattr(io, "open", open_)
        for name, function in (
            ("rename", rename),
            ("replace", replace),
            ("mkdir", mkdir),
            ("fsync", fsync),
        ):
            patch.setattr(os, name, function)
        yield disk
