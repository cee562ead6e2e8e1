"""Lines for people."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Print ``text``; on a terminal, over what progress bars (another arm's too) left there."""
    print(f"\r\x1b[J{text}" if sys.stdout.isatty() else text, flush=True)


def lack_of_memory(error: Exception) -> str:
    """One line of what to do where ``error`` says that memory is full; empty for another error."""
    from genmix_aug.editors.memory import lacks_memory

    if not lacks_memory(error):
        return ""
    first = str(error).partition("\n")[0].partition(". ")[0] or "out of memory"
    return (
        f"{first}: too little memory is free. In training --train.accumulate 2 takes less, in "
        "adaptation a smaller --adapt.batch_size, on a GPU --compute.precision bfloat16, and for "
        "pictures --compute.image_memory_gb 0"
    )
