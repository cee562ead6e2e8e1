"""What the commands `genmix` and `uda` share: streams, warnings and paths as people type them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

# Of no use to those who run a command: what libraries will change, and Pillow's word on pictures
# of over 89 megapixels, which are read; those of twice that size are refused.
UNTOLD = ((FutureWarning, ""), (Warning, "Image size .* exceeds limit"))


@contextmanager
def plain_console(program: str) -> Iterator[None]:
    """Print whatever names hold, and libraries' warnings as a line each, without their code.

    With ``-W`` or PYTHONWARNINGS warnings are as Python prints them.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files are of any encoding
    usual = warnings.formatwarning
    if not sys.warnoptions:
        warnings.formatwarning = lambda message, *_: f"{program}: warning: {one_line(message)}\n"
    try:
        with warnings.catch_warnings():
            for category, message in UNTOLD:
                warnings.filterwarnings("ignore", message, category, append=True)
            yield
    finally:
        warnings.formatwarning = usual


def one_line(message: object) -> str:
    """Return a message on a single line that a terminal shows as it is."""
    from genmix_aug.lettering import printable

    return printable(" ".join(str(message).split()))


def with_home(value: Any) -> Any:
    """Return an option's value with ``~`` in its texts as the home folder, as a shell puts it.

    A shell leaves it in ``--runs=~/runs``, and in files nobody replaces it.
    """
    if isinstance(value, str):
        return os.path.expanduser(value) if value.startswith("~") else value
    if isinstance(value, list):
        return [with_home(entry) for entry in value]
    if isinstance(value, dict):
        return {key: with_home(entry) for key, entry in value.items()}
    return value
