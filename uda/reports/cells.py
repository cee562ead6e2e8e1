"""A table as every format shows it, and how means over seeds stand in its cells."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A table's cell; ``best`` is the best measured one of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Line:
    """A table's row."""

    title: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table as every format shows it.

    ``published`` lines stand apart under ``published_source``. ``notes`` are the text below it.
    """

    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    published: tuple[Line, ...] = ()
    published_source: str = ""


def mean_and_deviation(values: Sequence[float]) -> str:
    """``40.9 ± 4.3`` (sample deviation), ``40.9`` for one value, ``–`` for none, ``undefined`` if
    any is NaN."""
    if any(math.isnan(value) for value in values):
        return "undefined"
    if not values:
        return "–"
    mean = round(statistics.fmean(values), 1) + 0.0  # without the sign of a rounded zero
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


def cells_of(
    column: Sequence[Sequence[float]], mark: bool = True, lower: bool = False
) -> list[Cell]:
    """Cells of one column; the best as it is shown (so that ties are ties) is marked, if ``mark``
    and if there is another one that it is better than, or as good as. ``lower`` is better."""
    means = [
        round(statistics.fmean(own), 1) if own and not any(map(math.isnan, own)) else None
        for own in column
    ]
    shown = [mean for mean in means if mean is not None]
    best = (min if lower else max)(shown) if mark and len(shown) > 1 else None
    return [
        Cell(mean_and_deviation(own), mean is not None and mean == best)
        for own, mean in zip(column, means, strict=True)
    ]


def seeds_text(seeds: Iterable[int]) -> str:
    """``seed 0``, ``seeds 0 2``."""
    numbers = sorted(set(seeds))
    return f"seed{'s' if len(numbers) > 1 else ''} {' '.join(map(str, numbers))}"
