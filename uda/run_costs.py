"""What finished runs cost, for saying what others will."""

from __future__ import annotations

import statistics
from itertools import pairwise

from uda.runs import Run


def ran_here(run: Run) -> bool:
    """Whether the run has finished and was not unpacked from another place, without its model:
    what it took there says little of here."""
    return run.is_done and (run.folder / "checkpoint.pt").is_file()


def seconds_of(run: Run) -> float:
    """How long a finished run took, in seconds.

    By the times of its epochs' lines: their median, so that a pause in between does not count. A
    run of no epochs goes by its folder's first and last file.
    """
    times = sorted(line["time"] for line in run.metrics(run.config["stage"]))
    steps = [later - earlier for earlier, later in pairwise(times)]
    if steps:
        return statistics.median(steps) * len(times)
    first, last = (run.folder / name for name in ("config.yaml", "done"))
    return max(last.stat().st_mtime - first.stat().st_mtime, 0.0)


def bytes_of(run: Run) -> int:
    """How much disk a run's folder takes, in bytes."""
    return sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())


def in_words(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``."""
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
    """``512 kB``, ``30 MB``, ``61 GB``."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= step:
            return f"{size / step:.0f} {unit}" if size >= 10 * step else f"{size / step:.1f} {unit}"
    return f"{size:.0f} B"
