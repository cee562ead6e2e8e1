"""A single worker at a time in a run's folder, on this machine or on a cluster's shared disk.

A lock is a file made with O_EXCL, which every shared disk grants to a single maker (not all of them
support flock). A thread touches it while its holder lives. A holder of this machine whose process
is gone, and any holder that has not touched its lock for `STALE_SECONDS` by the file system's
clock, has lost it.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from uda.runs.files import writing

BEAT_SECONDS = 20.0
# Six beats: a network disk may show an attribute a minute late.
STALE_SECONDS = 120.0


class RunBusyError(ValueError):
    """The error that another process is at work in the folder."""


@dataclass(frozen=True)
class Holder:
    """The process of a machine that holds a lock.

    ``space`` separates hosts of the same name whose process numbers mean different processes
    (containers; a machine before and after a restart).
    """

    host: str
    space: str
    pid: int
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} of {self.host}" if self.pid else "another process"


def holder(folder: Path) -> Holder | None:
    """Return the process at work in ``folder``; None if there is none or it has lost its lock."""
    lock = _read(folder / "lock")
    try:
        return None if lock is None or _is_stale(folder, *lock) else lock[0]
    except FileNotFoundError:  # the holder has left, with its folder
        return None


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Lock ``folder``, which is made if it is missing, within the block.

    A stale lock is taken over. Raises RunBusyError naming another holder, and ValueError naming a
    folder that cannot be made.
    """
    path = folder / "lock"
    us = Holder(socket.gethostname(), _space(), os.getpid(), secrets.token_hex(8))
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, us.token, ended), daemon=True)
    try:  # from here on an interruption, wherever it comes, leaves no lock behind
        for _ in range(100):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _take(path, us)
                break
            except FileNotFoundError:  # another process has just left an empty folder
                time.sleep(0.01)
            except FileExistsError:  # the same, between two checks of mkdir
                if folder.exists() and not folder.is_dir():
                    raise
                time.sleep(0.01)
        else:  # a link to nowhere, or a path like /proc
            raise ValueError(f"{folder}: no folder can be made there; name another one (--runs)")
        beat.start()
        yield
    finally:
        ended.set()
        if beat.is_alive():
            beat.join()
        _remove(path, us.token)
        with suppress(OSError):  # where nothing was written, nothing is left
            for empty in made:
                empty.rmdir()


def _take(path: Path, us: Holder) -> None:
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        if _take_over(path, us):
            return
        other = _read(path)
        raise RunBusyError(
            f"{path.parent}: {other[0] if other else 'another process'} is at work on this run; "
            "let it finish, or stop it"
        ) from None
    try:
        with writing(path), os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(us), file)
    except BaseException:  # a half-written lock would be nobody's
        path.unlink(missing_ok=True)
        raise


def _take_over(path: Path, us: Holder) -> bool:
    """Replace a stale lock by ours in a single step; return False if another process is first."""
    lock = _read(path)
    if lock is None or not _is_stale(path.parent, *lock):
        return False
    with _sole_right_to(path, lock[0].token) as ours:
        again = _read(path) if ours else None  # it may have been taken over, or have beaten
        if not again or again[0].token != lock[0].token or not _is_stale(path.parent, *again):
            return False
        aside = path.with_name(f".lock.{us.token}.new.tmp")
        try:
            with writing(path, aside):
                aside.write_text(json.dumps(asdict(us)), encoding="utf-8")
                os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
        return True


def now(folder: Path) -> float:
    """Return the time in seconds by the clock of the file system of ``folder``."""
    path = folder / f".clock.{secrets.token_hex(8)}.tmp"
    with writing(folder, path), open(path, "w", encoding="utf-8") as file:
        path.unlink(missing_ok=True)  # a run that ends clears temporary files away, too
        file.write("now")
        file.flush()
        return os.fstat(file.fileno()).st_mtime


def _beat(path: Path, token: str, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        lock = _read(path)
        if lock and lock[0].token == token:
            with suppress(OSError):
                os.utime(path)


def _read(path: Path) -> tuple[Holder, float] | None:
    """Return the holder and the time of the last beat.

    The file is opened, since a network disk then asks its server.
    """
    try:
        with open(path, encoding="utf-8") as file:
            beat = os.fstat(file.fileno()).st_mtime
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        return Holder(**json.loads(text)), beat
    except (ValueError, TypeError):  # made a moment ago, or by a process that died in that moment
        return Holder("", "", 0, ""), beat


def _is_stale(folder: Path, other: Holder, beat: float) -> bool:
    if other.pid and (other.host, other.space) == (socket.gethostname(), _space()):
        try:
            os.kill(other.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # somebody else's process
            pass
    return now(folder) - beat > STALE_SECONDS


def _remove(path: Path, token: str) -> None:
    """Remove the lock if it is that of ``token``."""
    for _ in range(100):  # a check whether it is stale takes milliseconds
        with _sole_right_to(path, token) as ours:
            lock = _read(path)
            if not lock or lock[0].token != token:
                return
            if ours:
                path.unlink(missing_ok=True)
                return
        time.sleep(0.01)


@contextmanager
def _sole_right_to(path: Path, token: str) -> Iterator[bool]:
    """Yield whether the lock of ``token`` is ours to replace or remove.

    Of processes that ask at the same time, a single one gets True. Nobody touches a lock without
    asking, so what is read within the block stays true.
    """
    claim = path.with_name(f".lock.{token}.tmp")
    ours = False
    try:
        try:
            claim.touch(exist_ok=False)
            ours = True
        except FileExistsError:
            with suppress(FileNotFoundError):  # left by a process killed in that moment
                if now(path.parent) - claim.stat().st_mtime > STALE_SECONDS:
                    claim.unlink()
        except FileNotFoundError:  # the folder has gone, and the lock with it
            pass
        yield ours
    finally:
        if ours:
            claim.unlink(missing_ok=True)


def _space() -> str:
    """Return the boot and the process namespace of this process; empty if the system hides them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""
