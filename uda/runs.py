"""A run's folder: config.yaml, metrics.jsonl, checkpoint.pt, classes.json, and ``done``, the last.

Folders are named after a hash of what decides the run's result, so the same configuration finds its
run again and another one never does. Every file is written to a temporary name and renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import secrets
import subprocess
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from uda import locks
from uda.config import read_yaml

if TYPE_CHECKING:
    from numpy.typing import NDArray


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place if the block ends well.

    The temporary keeps the suffix, by which writers choose a format. A block that raises leaves
    ``path`` as it was and no temporary behind. OSError naming ``path`` where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes of two machines, or containers, may have the same number.
    own = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.stem}.{own}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """ValueError naming ``path`` where no file can be written there: before the work, not after."""
    if path.is_dir():
        raise ValueError(f"{path}: a folder; name a file")
    there = next(place for place in path.absolute().parents if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise ValueError(f"{path}: cannot be written, as nothing may be put into {there}")


def config_hash(config: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits that stand for ``config`` (JSON values; key order does not matter)."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def file_hash(path: Path) -> str:
    """Ten hexadecimal digits that stand for a file's content. ValueError naming a missing one.

    Read once while it stays as it is: a sweep's plan asks for each of its runs.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    stat = path.stat()
    return _content_hash(path.absolute(), stat.st_size, stat.st_mtime_ns, stat.st_ino)


@cache
def _content_hash(path: Path, *_as_it_was: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10]


@cache
def code_version() -> str:
    """The code's commit (``-dirty`` where files were changed since), as far as git knows it; of an
    installed copy the package's version."""
    root = Path(__file__).resolve().parents[1]
    if (root / ".git").exists():  # not somebody's repository that has a copy within
        describe = ["describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]  # no tags
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(
                ["git", "-C", root, *describe],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            ).stdout.strip()
    try:
        return version("genmix-uda")
    except PackageNotFoundError:
        return "unknown"


@dataclass(frozen=True)
class Run:
    """One run's folder and the configuration that names it."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """The configuration's hash."""
        return config_hash(self.config)

    @property
    def source(self) -> Mapping[str, Any]:
        """The source stage's configuration: an adaptation's source model's, or its own."""
        source: Mapping[str, Any] = self.config.get("source", self.config)
        return source

    @property
    def is_done(self) -> bool:
        """Whether the run has finished."""
        return (self.folder / "done").is_file()

    def start(self) -> None:
        """Make the folder, and write config.yaml, unless they are there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "config.yaml").is_file():
            with atomic_path(self.folder / "config.yaml") as path:
                path.write_text(yaml.safe_dump(dict(self.config), sort_keys=False))

    def mark_done(self) -> None:
        """Say that the run has finished: after everything else is on disk.

        Temporary files that killed processes left in the folder, and below it, are removed.
        """
        for left in self.folder.rglob(".*.tmp*"):
            left.unlink(missing_ok=True)
        with atomic_path(self.folder / "done") as path:
            path.write_text(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n")

    def lock(self) -> AbstractContextManager[None]:
        """Be the only one at work on the run: `uda.locks.RunBusyError` where another one is."""
        return locks.hold(self.folder)

    def log(self, **values: Any) -> None:
        """Append one line to metrics.jsonl, whole in itself (hash, version and time added)."""
        self.start()
        line = {"run": self.hash, "version": code_version(), "time": time.time(), **values}
        with open(self.folder / "metrics.jsonl", "ab+") as file:
            # A line cut short by a kill must not swallow this one.
            file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
            start = b"" if file.read(1) in (b"", b"\n") else b"\n"
            file.write(start + json.dumps(line).encode() + b"\n")

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl in order, of one ``kind`` if given, the last of each epoch.

        A run killed between a line and its checkpoint logs that epoch again when it goes on; a last
        line cut short by the kill is passed over.
        """
        path = self.folder / "metrics.jsonl"
        lines: dict[tuple[Any, Any], dict[str, Any]] = {}
        for text in path.read_text(errors="replace").splitlines() if path.is_file() else ():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and kind in (None, line.get("kind")):
                lines[line.get("kind"), line.get("epoch")] = line
        return list(lines.values())

    def save_classes(self, names: Sequence[str]) -> None:
        """Write the K source classes in label order as classes.json: whoever uses the model then
        needs no dataset's file."""
        self.start()
        with atomic_path(self.folder / "classes.json") as path:
            path.write_text(json.dumps(list(names)) + "\n")

    def classes(self) -> tuple[str, ...] | None:
        """What `save_classes` wrote, or None. ValueError naming a broken file."""
        path = self.folder / "classes.json"
        if not path.is_file():
            return None
        try:
            names = json.loads(path.read_text())
        except ValueError:
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{path}: not a list of class names; restore or delete it")
        return tuple(names)

    def save_checkpoint(self, state: Mapping[str, Any], name: str = "checkpoint.pt") -> None:
        """Write ``state`` (tensors and plain values) as the file ``name``."""
        import torch

        self.start()
        with atomic_path(self.folder / name) as path:
            torch.save(dict(state), path)

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last saved state, or None before the first. ValueError naming a broken one."""
        path = self.folder / "checkpoint.pt"
        try:
            return read_checkpoint(path) if path.is_file() else None
        except ValueError as error:
            raise ValueError(f"{error}; delete {self.folder} to begin it anew") from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU without unpickling code. ValueError naming the file if it is
    missing, cut short, or holds anything but tensors and plain values."""
    import torch

    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Torch's own words advise to load it all the same, which would run its code.
        raise ValueError(
            f"{path}: not a readable checkpoint (no checkpoint at all, or one that holds more than "
            "tensors and plain values: save its state dict alone)"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"{path}: not a readable checkpoint ({reason})") from None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint: holds a {type(state).__name__}")
    return state


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a run's .npz file. ValueError naming it where it is broken."""
    import numpy as np

    try:
        with np.load(path) as held:
            return dict(held)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: cannot be read ({error}); delete the run and adapt again"
        ) from None


def open_run(runs: Path, name: str, config: Mapping[str, Any]) -> Run:
    """The run of ``config`` under ``runs``. Nothing is written before `Run.start`."""
    return Run(runs / f"{name}-{config_hash(config)}", config)


def read_run(folder: Path, renamed: bool = False) -> Run:
    """The run in ``folder``. ValueError naming it where there is none, or a broken one.

    Its name must end in the hash of its configuration, unless it may have been ``renamed``.
    """
    path = folder / "config.yaml"
    if not path.is_file():
        raise ValueError(f"{folder}: not a run's folder (no config.yaml in it)")
    config = read_yaml(path)
    if renamed and "stage" not in config:
        raise ValueError(f"{path}: not a run's configuration")
    if not renamed and not folder.name.endswith(f"-{config_hash(config)}"):
        raise ValueError(f"{path}: not what this run was made with; delete or restore {folder}")
    return Run(folder, config)


def find_runs(runs: Path) -> list[Run]:
    """All runs directly under ``runs``, in order of their names. ValueError where there is none.

    Hidden folders are those that were being made when a process was killed.
    """
    if not runs.is_dir():
        raise ValueError(f"{runs}: no such folder of runs")
    paths = sorted(runs.glob("*/config.yaml"))
    found = [read_run(path.parent) for path in paths if not path.parent.name.startswith(".")]
    if not found:
        raise ValueError(f"{runs}: holds no runs; `uda train` and `uda adapt` make them")
    return found
