"""Hashes of configurations and of files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from genmix_aug.files import read_bytes


def config_hash(config: Mapping[str, Any]) -> str:
    """Return ten hexadecimal digits that stand for ``config`` (JSON, keys in any order)."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def file_hash(path: Path) -> str:
    """Return ten hexadecimal digits for a file's content. Raises ValueError naming a missing file.

    The file is read once while it stays as it is: a sweep's plan asks for each of its runs.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    stat = path.stat()
    as_it_is = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return _content_hash(path.absolute(), *as_it_is)


@cache
def _content_hash(path: Path, *_as_it_was: int) -> str:
    return hashlib.sha256(read_bytes(path)).hexdigest()[:10]
