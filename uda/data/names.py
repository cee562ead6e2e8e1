"""Names as people write them: compared without their usual variations, and listed in messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from genmix_aug.lettering import printable


def normalised_name(name: str) -> str:
    """Return ``name`` without what people and file systems vary.

    Case, spaces, hyphens and underscores go; accents are composed (Unicode's NFC).
    """
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", name)).casefold()


def join_names(names: Sequence[str], most: int = 5) -> str:
    """Return ``a, b, c``, the first ``most`` of ``names``, and how many more follow."""
    listed = ", ".join(map(printable, names[:most]))
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed
