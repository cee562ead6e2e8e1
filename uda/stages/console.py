"""Lines for people."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Print ``text``; on a terminal, over what progress bars have left in the line."""
    print(f"\r\x1b[J{text}" if sys.stdout.isatty() else text, flush=True)
