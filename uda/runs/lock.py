"""A single process at a time at work on a run, by filelock.

`filelock.FileLock` takes flock, which the kernel drops when its holder dies: a lock is never stale.
Between machines it holds where the shared disk passes flock on (NFS from version 4, Lustre mounted
with ``flock``, GPFS, CephFS). Where it does not, only a single command may work on a folder of runs
at a time; a sweep on a cluster is one, and gives each run to one worker.

Locks lie in RUNS/.locks and stay there: removing a file that another process has just opened would
let two of them in.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


class RunBusyError(ValueError):
    """The error that another process is at work on the run."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other processes from working on the run in ``folder`` within the block.

    Raises:
        RunBusyError: Names the process that is at work on the run.
        ValueError: Names the folder of runs that cannot be made.
    """
    path = folder.parent / ".locks" / f"{folder.name}.lock"
    holder = path.with_suffix(".holder")  # whom to name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise ValueError(
            f"{folder.parent}: no folder can be made there; name another one (--runs)"
        ) from None
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        name = holder.read_text() if holder.is_file() else "another process"
        raise RunBusyError(
            f"{folder}: {name} is at work on this run; let it finish, or stop it"
        ) from None
    try:
        holder.write_text(f"process {os.getpid()} of {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
