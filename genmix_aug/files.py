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
        OSError: naming `path`: the disk is full or the folder not writable.
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


def sweep(folder: Path, older_than_s: float = STALE_SECONDS) -> int:
    """Removes what killed processes left of `write_whole` in a folder; the number removed.

    Those of this machine whose process is gone, and those that are too old for any to be at work.
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
            continue  # another one was quicker, or the folder is not ours to tidy
    return removed


def host() -> str:
    """This machine's name, letters and digits alone, as names of temporary files hold it."""
    return "".join(c for c in socket.gethostname() if c.isalnum()) or "host"


def _runs(process: int) -> bool:
    """Whether a process of this number is at work on this machine; where in doubt, it is."""
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
    """The JSON object that stands in a folder to say what it holds, or None where there is none.

    Raises:
        ValueError: the file is there and no such object.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"{path} cannot be read: name another folder, or delete this one")
    return found
