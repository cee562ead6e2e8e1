"""What finished runs cost, to estimate what others will."""

from __future__ import annotations

import statistics
from itertools import pairwise

from uda.runs.folder import Run


def seconds_of(run: Run) -> float:
    """Return how long a finished run took, in seconds.

    This is the median time between the lines of its epochs, so that a pause does not count, for
    each of them. A run of no epochs goes by its folder's first and last file.
    """
    times = sorted(line.get("time", 0.0) for line in run.metrics(run.stage))
    steps = [later - earlier for earlier, later in pairwise(times)]
    if steps:
        return statistics.median(steps) * len(times)
    return run.lifetime_s


def in_words(seconds: float) -> str:
    """Return ``40 s``, ``12 min``, ``3 h 20 min`` or ``2 d 4 h``."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def size_in_words(size: float) -> str:
    """Return a size in bytes as ``512 kB``, ``30 MB`` or ``61 GB``."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= step:
            return f"{size / step:.0f} {unit}" if size >= 10 * step else f"{size / step:.1f} {unit}"
    return f"{size:.0f} B"
