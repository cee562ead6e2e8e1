"""Names as people write them: which are the same, and how a list of them is told."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence


def loose(name: str) -> str:
    """``name`` without case, spaces, hyphens and underscores, which people vary, and with accents
    composed, which file systems vary."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", name)).casefold()


def named(names: Sequence[str], most: int = 5) -> str:
    """``a, b, c`` of names, and how many more there are."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
