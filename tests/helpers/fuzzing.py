"""One case of a fuzz run: a stranger's file is written and read, and what that does is watched."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import sysconfig
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from helpers.mutations import OUTSIDE
from helpers.strangers import READERS, Reader

from genmix_aug.cli.console import one_line
from genmix_aug.cli.environment import message_of

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 15.0  # of a case
MOST_BYTES = (
    4 * 2**30
)  # that a case may add to the process's peak: a picture of 178 megapixels does

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate")
STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")
# What Python and the libraries read for themselves.
OWN_PLACES = tuple(
    os.path.realpath(path) + os.sep
    for path in (
        *(sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), ROOT, *ROOT.parents[:0]),
        *("/proc", "/sys", "/dev", "/usr", "/etc/mime.types", "/etc/fonts", "/etc/ld.so.cache"),
        os.path.realpath(ROOT / ".venv"),
        os.path.expanduser("~/.cache"),
        os.path.expanduser("~/.config"),
    )
)


@dataclass
class Watch:
    """What is done outside of a folder while it is watched."""

    folder: str = ""
    may_read: bool = True
    seen: list[str] = field(default_factory=list)


WATCH = Watch()


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not WATCH.folder or event not in ("open", "pickle.find_class", *CHANGES, *STARTS):
        return
    if event == "subprocess.Popen" and arguments[0] == "lscpu":  # joblib counts cores
        return
    if event in STARTS or event == "pickle.find_class":
        WATCH.seen.append(f"{event} {arguments!r:.200}")
    elif event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & WRITES
        if isinstance(path, (str, bytes, os.PathLike)) and (writes or not WATCH.may_read):
            _check(event, path, bool(writes))
    else:
        # Arguments that are numbers are folders that paths are relative to: rmtree names no others.
        folders = [number for number in arguments if type(number) is int and number >= 0]
        at = os.readlink(f"/proc/self/fd/{folders[-1]}") if event != "os.mkdir" and folders else ""
        for path in arguments:
            if isinstance(path, (str, bytes, os.PathLike)):
                _check(event, os.path.join(at, os.fsdecode(path)), True)


def _check(event: str, path: Any, writes: bool) -> None:
    try:
        real = os.path.realpath(os.path.abspath(os.fsdecode(path)))
    except ValueError:  # a null byte: it is refused
        return
    if real == WATCH.folder or real.startswith(WATCH.folder + os.sep) or real == os.devnull:
        return
    if real.startswith(OWN_PLACES) and not writes:
        return
    if event == "os.mkdir" and os.path.basename(real) == "matplotlib":
        return  # which makes folders for its fonts
    WATCH.seen.append(f"{event} {'writes' if writes else 'reads'} {real[:200]}")


_is_audited = False


@contextmanager
def watched(folder: Path, reader: Reader) -> Iterator[list[str]]:
    """Yield what is done outside of ``folder`` within the block: starts, writes and reads."""
    global _is_audited
    if not _is_audited:
        sys.addaudithook(_audit)
        _is_audited = True
    WATCH.seen, WATCH.may_read = [], reader.reads_anywhere
    WATCH.folder = os.path.realpath(folder)
    try:
        yield WATCH.seen
    finally:
        WATCH.folder = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a case: ``read``, ``refused`` with a line, a ``finding``, or ``unmade``."""

    kind: str
    text: str = ""


def run_case(name: str, seed: int | str, keep: Path | None = None) -> Outcome:
    """Write the case of this seed for the reader called ``name``, read it, and judge.

    Args:
        keep: Where the files of a finding are copied.
    """
    reader, rng = READERS[name], Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as made:
        folder = Path(made)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader.write(folder, rng)
        except Exception:  # nobody can write such a file
            return Outcome("unmade")
        if keep:
            shutil.copytree(folder, keep, dirs_exist_ok=True)
        return _judge(reader, folder)


def _judge(reader: Reader, folder: Path) -> Outcome:
    before, began = _peak_bytes(), time.process_time()
    error: BaseException | None = None
    with watched(folder, reader) as seen, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader.read(folder)
        except Exception as raised:
            error = raised
    seconds, grown = time.process_time() - began, _peak_bytes() - before
    if seen or os.path.lexists(OUTSIDE):
        if os.path.lexists(OUTSIDE):
            os.rmdir(OUTSIDE)
            seen.append(f"made {OUTSIDE}")
        return Outcome("finding", f"outside of its folder: {'; '.join(seen[:3])}")
    if seconds > MOST_SECONDS:
        return Outcome("finding", f"{seconds:.0f} s: {error}")
    if grown > MOST_BYTES:
        return Outcome("finding", f"{grown / 2**30:.1f} GiB: {error}")
    if error is None:
        return Outcome("read")
    line, place = message_of(error), _place(error)
    if not isinstance(error, (ValueError, OSError)):
        return Outcome("finding", f"{type(error).__name__}: {line[:300]} {place}")
    files = {path.name for path in folder.rglob("*")} - {"runs"}
    names = {one_line(file) for file in files} | files | {f"{folder}:", f"{folder} ", f"{folder}/"}
    if not any(file in line for file in names):
        return Outcome("finding", f"names no file: {line[:300]} {place}")
    if len(line) > 1500:
        return Outcome("finding", f"{len(line)} characters: {line[:200]} {place}")
    return Outcome("refused", line)


def _place(error: BaseException) -> str:
    """Return the last lines of our code that an error came through: ``[folder.py:12]``."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f"{Path(frame.filename).name}:{frame.lineno}"
        for frame in frames
        if Path(frame.filename).is_relative_to(ROOT)
        and not Path(frame.filename).is_relative_to(ROOT / "tests")
        and ".venv" not in frame.filename
    ]
    return f"[{' '.join(own[-3:])}]"


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
