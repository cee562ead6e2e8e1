"""Processes that tests start, watch and interrupt."""

import signal
import time
from pathlib import Path


def until(condition, seconds=60):
    """Wait for a condition, and return its value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return value


def gone(pid):
    """Whether the process has ended, or is a zombie."""
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True


def heed_interrupts():
    """In a child: SIGINT interrupts, even where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
