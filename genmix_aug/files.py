"""Writing a file whole or not at all, and the mark that says what a folder is for."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

STALE_SECONDS = 3600  # a temporary file this old is abandoned, whoever wrote it
# .TOKEN.HOST-PID.tmp.SUFFIX; without a host and a suffix as earlier versions wrote them
TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.(?:([^.]*)-)?(\d+)\.tmp(?:\.\w+)?")


class WriteError(OSError):
    """The error that ``filename`` cannot be written; says why, and how much room is left."""

    def __str__(self) -> str:
        room = _room(self.filename) if self.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return (
            f"{self.filename}: cannot be written: {self.strerror}{room}; once it can be, the same "
            "command goes on"
        )


class ReadError(OSError):
    """The error that the disk fails to read ``filename``."""

    def __str__(self) -> str:
        return f"{self.filename}: cannot be read: {self.strerror}"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name `path` in errors of a disk that fails to read it within the block.

    Raises:
        OSError: It cannot be opened, or (ReadError) the disk fails, which Python tells without the
            file's name.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno:
            raise ReadError(error.errno, error.strerror, str(path)) from error
        raise


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes, with the errors of `reading`."""
    with reading(path):
        return path.read_bytes()


def read_text(path: Path, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Return a file's text, the ends of its lines as they are, with `read_bytes`'s errors."""
    return read_bytes(path).decode(encoding, errors)


def _room(path: str) -> str:
    """Return in words how much more the disk of ``path`` takes; nothing if it cannot be asked."""
    try:
        folder = next(folder for folder in Path(path).absolute().parents if folder.is_dir())
        return f" ({shutil.disk_usage(folder).free / 1e6:,.1f} MB are free)"
    except (OSError, StopIteration):
        return ""


@contextmanager
def writing(path: Path, *aliases: Path) -> Iterator[None]:
    """Raise WriteError naming ``path`` where the block fails to write it.

    Writers of other packages hide the system's error behind an error of their own (torch.save's is
    a RuntimeError about positions), or name no file. A folder that has gone is FileNotFoundError.

    Args:
        path: A file or folder.
        aliases: Temporary files or folders that are to become it.
    """
    try:
        yield
    except Exception as error:
        reason = _system_error(error)
        if reason is None or not _is_of(reason.filename, path, aliases):
            raise
        kind = FileNotFoundError if isinstance(reason, FileNotFoundError) else WriteError
        raise kind(reason.errno, reason.strerror, str(path)) from error


def _is_of(name: Any, path: Path, aliases: tuple[Path, ...]) -> bool:
    """Return whether an error that names a file, or none, is about ``path`` or its ``aliases``."""
    if name is None:
        return True
    named = Path(os.fsdecode(name))
    return named in (path, *path.parents) or any(a in (named, *named.parents) for a in aliases)


def _system_error(error: BaseException | None) -> OSError | None:
    """Return the error of the system that ``error`` is or was caused by, if any."""
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return error
        hidden = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or hidden
    return None


@contextmanager
def atomic_path(path: Path, flushed: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it if the block ends well.

    The temporary keeps the suffix, by which writers choose a format. A block that raises leaves
    ``path`` as it was and no temporary behind. What is ``flushed`` is on the disk before it has its
    name: a machine that loses its power keeps the file before it or this one.

    Raises:
        WriteError: Naming `path`: the disk is full or the folder not writable.
    """
    with _temporary_beside(path) as temporary:
        yield temporary
        if flushed:
            flush(temporary)
        os.replace(temporary, path)


@contextmanager
def _temporary_beside(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary file, which the block's end removes; name `path` in errors."""
    # Processes of two machines, or containers, may have the same number.
    token = f"{secrets.token_hex(4)}.{host()}-{os.getpid()}"
    temporary = path.with_name(f".{token}.tmp{path.suffix}")
    with writing(path, temporary):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            with suppress(OSError):  # a disk that fails may refuse this, too
                temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` by `atomic_path`, with its errors.

    It is not flushed, which would halve the pace of an export: what is written so is made again
    where it is not whole.
    """
    with atomic_path(path, flushed=False) as temporary:
        temporary.write_bytes(data)


def write_new(path: Path, data: bytes) -> bool:
    """Write `data` to `path` unless it exists, and return whether it was written.

    Of several processes that do so at once a single one writes, and nobody sees half a file.

    Raises:
        WriteError: Naming `path`: the disk is full or the folder not writable.
    """
    with _temporary_beside(path) as temporary:
        temporary.write_bytes(data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a disk without links
            try:
                with open(path, "xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
        return True


def append(file: io.FileIO, data: bytes) -> None:
    """Append `data` to an unbuffered file, whole or not at all, and wait until it is on the disk.

    Raises:
        OSError: The disk is full or not writable; the file is as before.
    """
    end = file.seek(0, os.SEEK_END)
    left = memoryview(data)
    try:
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
    except BaseException:
        with suppress(OSError):
            file.truncate(end)
        raise


def remove_abandoned(folder: Path, older_than_s: float = STALE_SECONDS) -> int:
    """Remove what killed processes left of `atomic_path` in a folder; return the number of files.

    Files of this machine go if their process is gone, others if no process can be that old.
    """
    removed = 0
    for path in folder.glob(".*.tmp*"):
        named = TEMPORARY.fullmatch(path.name)
        if not named:
            continue
        try:
            gone = named[1] == host() and not is_running(int(named[2]))
            if gone or time.time() - path.stat().st_mtime >= older_than_s:
                path.unlink()
                removed += 1
        except OSError:
            continue  # another process was quicker, or the folder is not ours to tidy
    return removed


def host() -> str:
    """Return this machine's name, letters and digits alone, for names of temporary files."""
    return "".join(c for c in socket.gethostname() if c.isalnum()) or "host"


def is_running(process: int) -> bool:
    """Return whether a process of this number runs on this machine; where in doubt, it does."""
    if os.name != "posix":
        return True  # elsewhere the signal would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def read_mark(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file that says what its folder holds; None without a file.

    Raises:
        ValueError: The file holds no such object.
    """
    if not path.is_file():
        return None
    mark = None
    with suppress(ValueError, RecursionError):
        mark = json.loads(read_bytes(path))
    if not isinstance(mark, dict):
        raise ValueError(f"{path} cannot be read: name another folder, or delete this one")
    return mark
