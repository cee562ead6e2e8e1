"""The version of the code at work."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def code_version() -> str:
    """Return the code's commit, with ``-dirty`` where files were changed since.

    Of an installed copy, the package's version.
    """
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():  # not another repository that contains a copy
        describe = ["describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]  # no tags
        with suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(
                ["git", "-C", root, *describe],
                capture_output=True,
                encoding="utf-8",
                timeout=10,
                check=True,
            ).stdout.strip()
    return package_version()


def package_version() -> str:
    """Return the installed package's version, such as ``0.1.0``; "unknown" of a bare copy."""
    try:
        return version("genmix-uda")
    except PackageNotFoundError:
        return "unknown"
