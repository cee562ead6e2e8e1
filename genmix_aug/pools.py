"""Work spread over processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Map(Protocol):
    """Applies a function to each item and yields the results in order, like `map`."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], /
    ) -> Iterator[Result]: ...


@contextmanager
def process_map(
    workers: int, work: str, chunk: int = 1, start: Callable[[], object] | None = None
) -> Iterator[Map]:
    """Yield a `map` that runs in spawned processes, or in this process for a single worker.

    Results must be consumed within the block. Workers end with this process, and say nothing at
    Ctrl-C.

    Args:
        workers: Number of processes; 1 starts none.
        work: What a worker does, for the error, such as "draws fractals".
        chunk: Items that a worker takes at a time.
        start: Called in each worker before its first item; not for a single worker.

    Raises:
        ChildProcessError: A worker died.
    """
    if workers <= 1:
        yield map
        return
    # spawn: a fork of a process in which torch has started its threads may hang
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _start_worker, (start,)) as pool:
        try:
            yield partial(pool.map, chunksize=chunk)
        except BrokenProcessPool as error:
            raise ChildProcessError(
                f"a process that {work} died (out of memory, or called from a script without "
                "`if __name__ == '__main__':`): try again with 1 worker"
            ) from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker(start: Callable[[], object] | None) -> None:
    """Ignore Ctrl-C, and end with the parent: the worker of a killed parent waits for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if start:
        start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)
