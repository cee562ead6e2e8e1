"""How far long work has come: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar, overload

from tqdm import tqdm
from typing_extensions import Never

T = TypeVar("T")
EVERY_SECONDS = 30.0  # between two lines
SHORT_SECONDS = 10.0  # work that takes no longer says nothing


@overload
def show_progress(iterable: None = None, *, shown: bool = ..., **options: Any) -> tqdm[Never]: ...
@overload
def show_progress(iterable: Iterable[T], *, shown: bool = ..., **options: Any) -> tqdm[T]: ...
def show_progress(
    iterable: Iterable[Any] | None = None, *, shown: bool = True, **options: Any
) -> tqdm[Any]:
    """Return a tqdm of ``iterable``, on standard error: a bar on a terminal, else `ProgressLines`.

    Args:
        iterable: What is gone through; without it the caller calls ``update``.
        shown: Whether anything is shown at all.
        options: Those of tqdm: desc, total, unit, initial, and for the bar leave, delay, ….
    """
    stream = sys.stderr  # None where a program has no console
    if not shown or stream is None:
        return tqdm(iterable, disable=True, **options)
    return (tqdm if stream.isatty() else ProgressLines)(iterable, **options)


class ProgressLines(tqdm):
    """A tqdm for logs of batch jobs: a line each `EVERY_SECONDS`, and one at the end.

        train: 420/1000 steps, 5.1/s, 2 min left

    Rate and time left go by the average since the start, as a log's readers come after hours.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._written = ""
        # gui is tqdm's way for subclasses that show no bar: it moves no cursor then.
        ours = {"gui": True, "mininterval": EVERY_SECONDS, "miniters": 1, "delay": 0}
        super().__init__(*args, **{**options, **ours, "smoothing": 0})

    def display(self, *_: Any, **__: Any) -> None:
        """Write a line, unless the last one is younger than `EVERY_SECONDS`."""
        now = self.start_t + self.elapsed
        if now - self.last_print_t >= EVERY_SECONDS:  # set_postfix asks for one each time
            self._write_line()
            self.last_print_t = now

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return float(self.format_dict["elapsed"])

    def clear(self, *_: Any, **__: Any) -> None:
        """Do nothing, as lines stay."""

    def close(self) -> None:
        """Write the last line, unless the work was short."""
        if not self.disable and self.elapsed >= SHORT_SECONDS:
            self._write_line()
        super().close()

    def _write_line(self) -> None:
        if (line := self._line()) != self._written:
            self.fp.write(f"{line}\n")
            self.fp.flush()
            self._written = line

    def _line(self) -> str:
        n, total, elapsed = self.n, self.total, self.elapsed
        name = f"{self.desc.removesuffix(': ')}: " if self.desc else ""
        # Loops count whole batches, of which the last may be smaller.
        count = f"{min(n, total):,}/{total:,}" if total else f"{n:,}"
        rate = (n - self.initial) / elapsed if elapsed > 0 else 0.0
        parts = [f"{name}{count} {_plural(self.unit)}"]
        if rate > 0:
            parts.append(f"{rate:.3g}/s" if rate < 100 else f"{rate:,.0f}/s")
        if total and n >= total:
            parts.append(f"took {_duration(elapsed)}")
        elif total and rate > 0:
            parts.append(f"{_duration((total - n) / rate)} left")
        if self.postfix:
            parts.append(str(self.postfix))
        return ", ".join(parts)


def _plural(unit: str) -> str:
    return {"it": "done", "img": "images"}.get(unit, f"{unit}s")


def _duration(seconds: float) -> str:
    """Return a duration in the unit that people would use: ``40 s``, ``2 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
