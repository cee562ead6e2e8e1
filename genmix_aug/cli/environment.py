"""What the environment of a command may hold that would stop it."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from importlib.util import find_spec

from genmix_aug.cli.console import one_line

MOST_LETTERS = 1000  # of a message; a name or value in it may be any file's content
LAUNCHER = ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK")  # set by torchrun and its like


def prepare_environment() -> None:
    """Let the command work from a notebook, and with or without a launcher.

    A notebook's backend of Matplotlib, which its cells' commands inherit, may not be installed
    beside us: Matplotlib's import would fail.

    Raises:
        ValueError: A variable of a launcher is not a number.
    """
    backend = os.environ.get("MPLBACKEND", "")
    if backend.startswith("module://") and not _is_installed(backend.removeprefix("module://")):
        os.environ["MPLBACKEND"] = "agg"
    for name in LAUNCHER:
        if not (value := os.environ.get(name, "0").strip()).isdecimal():
            del os.environ[name]
            if value:
                raise ValueError(f"{name}: {value!r} in the environment is not a number; unset it")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def message_of(error: Exception) -> str:
    """Return an error's message in a line.

    Whatever writes a file names it, so a full disk that names none is standard output's.
    """
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, OSError) and error.filename is None and error.errno in full:
        close_output()
        return f"standard output: cannot be written: {error.strerror}"
    line, half = one_line(error), MOST_LETTERS // 2
    return line if len(line) <= MOST_LETTERS else f"{line[:half]} … {line[-half:]}"


def close_output() -> None:
    """Let what is still printed go nowhere: its reader has gone, or its disk is full."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
