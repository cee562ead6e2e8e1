"""A single process at a time at work on a run, by filelock.

`filelock.FileLock` takes flock, which the kernel drops when its holder dies: a lock is never stale.
Between machines it holds where the shared disk passes flock on (NFS from version 4, Lustre mounted
with ``flock``, GPFS, CephFS). Where it does not, only a single command may work on a folder of runs
at a time; a sweep on a cluster is one, and gives each run to one worker.

Locks lie in RUNS/.locks while a run is worked on. A lock's file may be removed by its holder, since
filelock looks, once it has a lock, whether its file is still there.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from genmix_aug.files import WriteError
from uda.runs.files import writing

# Of a disk that is full, fails or may not be written: waiting does not help.
FAILING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)

POLL_SECONDS = 2.0  # between looks at what another process is at work on


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
    made = [parent for parent in path.parents if not parent.exists()]
    try:  # from here on an interruption, wherever it comes, leaves nothing behind
        with _acquired(path, folder, holder):
            try:
                with writing(holder):
                    text = f"process {os.getpid()} of {socket.gethostname()}"
                    holder.write_text(text, encoding="utf-8")
                yield
            finally:
                holder.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # where nothing was written, nothing is left
            for parent in dict.fromkeys((path.parent, *made)):
                parent.rmdir()


@contextmanager
def hold_in_turn(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock as `hold`, once whoever is at work on the run has let go of it.

    Args:
        say: Called with a line before it waits.
    """
    has_said = False
    while True:
        with ExitStack() as stack:
            try:
                stack.enter_context(hold(folder))
            except RunBusyError as error:
                if not has_said:
                    say(f"{str(error).partition(';')[0]}; waiting for it")
                has_said = True
            else:
                yield
                return
        time.sleep(POLL_SECONDS)


def _acquired(path: Path, folder: Path, holder: Path) -> AcquireReturnProxy:
    """Lock the file ``path`` for the run in ``folder``; return what unlocks it at a block's end."""
    for _ in range(100):
        try:
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                return FileLock(path).acquire(timeout=0)
        except Timeout:
            name = "another process"
            with suppress(FileNotFoundError):  # it has not said so yet, or has just left
                name = holder.read_text(encoding="utf-8") or name
            raise RunBusyError(
                f"{folder}: {name} is at work on this run; let it finish, or stop it"
            ) from None
        except WriteError as error:
            if error.errno in FAILING:
                raise
            time.sleep(0.01)
        except FileNotFoundError:  # another process has just left, with an empty folder
            time.sleep(0.01)
    raise ValueError(f"{folder}: no folder can be made there; name another one (--runs)")
