"""Making the next batch while the network works on this batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetch(make: Callable[[Item], Made], items: Iterable[Item], apart: bool) -> Iterator[Made]:
    """Yield ``make`` of each of ``items``, in order, with its errors.

    If ``apart``, the next result is made in a thread while the caller works with the last.
    """
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
