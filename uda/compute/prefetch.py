"""Making the next batch while the network works on this one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetch(make: Callable[[Item], Made], items: Iterable[Item], apart: bool) -> Iterator[Made]:
    """``make`` of each of ``items``, in order; if ``apart``, the next one is made in a thread while
    the caller works with the one before. What ``make`` raises is raised here."""
    if not apart:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        last: Future[Made] | None = None
        for item in items:
            coming = pool.submit(make, item)
            if last:
                yield last.result()
            last = coming
        if last:
            yield last.result()
