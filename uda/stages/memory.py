"""Advice for when memory is full."""

from __future__ import annotations


def lack_of_memory(error: Exception) -> str:
    """Return a line of advice where ``error`` says that memory is full, else an empty string."""
    from genmix_aug.editors.memory import lacks_memory

    if not lacks_memory(error):
        return ""
    first = str(error).partition("\n")[0].partition(". ")[0] or "out of memory"
    return (
        f"{first}: too little memory is free. In training --train.accumulate 2 takes less, in "
        "adaptation a smaller --adapt.batch_size, on a GPU --compute.precision bfloat16, and for "
        "pictures --compute.image_memory_gb 0"
    )
