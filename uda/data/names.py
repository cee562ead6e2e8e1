"""Names as people write them: compared without their usual variations, and listed in messages."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

from genmix_aug.lettering import printable

MOST_BYTES, KEPT_BYTES = 239, 200  # of a name in a file's name, and of one that is shortened


def normalised_name(name: str) -> str:
    """Return ``name`` without what people and file systems vary.

    Case, spaces, hyphens and underscores go; accents are composed (Unicode's NFC).
    """
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFC", name)).casefold()


def join_names(names: Sequence[str], most: int = 5) -> str:
    """Return ``a, b, c``, the first ``most`` of ``names``, and how many more follow."""
    listed = ", ".join(map(printable, names[:most]))
    return f"{listed} and {len(names) - most} more" if len(names) > most else listed


def shortened(name: str) -> str:
    """Return a name, or of a long one its beginning and a hash.

    File systems have 255 bytes for a file's name, endings and hashes included.
    """
    data = name.encode(errors="surrogateescape")
    if len(data) <= MOST_BYTES:
        return name
    digest = hashlib.blake2b(data, digest_size=5).hexdigest()
    return f"{data[:KEPT_BYTES].decode(errors='ignore')}_{digest}"
