"""Writing a file whole or not at all, and the mark that says what a folder is for."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STALE_SECONDS = 3600  # a temporary file this old is abandoned, whoever wrote it
# .TOKEN.HOST-PID.tmp.SUFFIX; without a host and a suffix as earlier versions wrote them
TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.(?:([^.]*)-)?(\d+)\.tmp(?:\.\w+)?")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it if the block ends well.

    The temporary keeps the suffix, by which writers choose a format. A block that raises leaves
    ``path`` as it was and no temporary behind.

    Raises:
        OSError: Naming `path`: the disk is full or the folder not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of two machines, or containers, may have the same number.
    token = f"{secrets.token_hex(4)}.{host()}-{os.getpid()}"
    temporary = path.with_name(f".{token}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` by `atomic_path`, with its errors."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


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
            gone = named[1] == host() and not _runs(int(named[2]))
            if gone or time.time() - path.stat().st_mtime >= older_than_s:
                path.unlink()
                removed += 1
        except OSError:
            continue  # another process was quicker, or the folder is not ours to tidy
    return removed


def host() -> str:
    """Return this machine's name, letters and digits alone, for names of temporary files."""
    return "".join(c for c in socket.gethostname() if c.isalnum()) or "host"


def _runs(process: int) -> bool:
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
    try:
        mark = json.loads(path.read_bytes())
    except ValueError:
        mark = None
    if not isinstance(mark, dict):
        raise ValueError(f"{path} cannot be read: name another folder, or delete this one")
    return mark
