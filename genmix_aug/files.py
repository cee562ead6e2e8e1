"""Writing a file whole or not at all, and the mark that says what a folder is for."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_whole(path: Path, data: bytes) -> None:
    """Writes `data` to a hidden temporary name beside `path`, then renames it.

    Raises:
        OSError: the disk is full or the folder not writable; `path` is as it was, and no
            temporary file is left.
    """
    temporary = path.with_name(f".{secrets.token_hex(4)}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
