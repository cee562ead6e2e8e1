"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


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
