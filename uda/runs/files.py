"""Files written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from genmix_aug.files import atomic_path

__all__ = ["atomic_path", "check_writable", "write_json", "write_text"]


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


def check_writable(path: Path) -> None:
    """Raise ValueError naming ``path`` where no file can be written: before the work, not after."""
    if path.is_dir():
        raise ValueError(f"{path}: a folder; name a file")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        raise ValueError(f"{path}: cannot be written, as nothing may be put into {parent}")
