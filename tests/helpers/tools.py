"""Commands that tests put before those of the system."""

from __future__ import annotations

import os
from pathlib import Path


def write_tools(folder: Path, **scripts: str) -> dict[str, str]:
    """Write shell ``scripts`` by name into ``folder``; return an environment that finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
