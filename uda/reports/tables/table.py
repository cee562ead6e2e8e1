"""A table as every format shows it, and its cells: means over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A table's cell; ``best`` marks the best measured value of its column."""

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


def lines_of(titles: Iterable[str], columns: Sequence[Sequence[Cell]]) -> tuple[Line, ...]:
    """Return the lines of a table from the cells of its ``columns``."""
    rows = zip(*columns, strict=True)
    return tuple(Line(title, cells) for title, cells in zip(titles, rows, strict=True))


def mean_and_deviation(values: Sequence[float]) -> str:
    """Return ``40.9 ± 4.3`` (sample deviation), ``40.9`` for a single value, ``–`` for none and
    ``undefined`` if any is NaN."""
    if any(math.isnan(value) for value in values):
        return "undefined"
    if not values:
        return "–"
    mean = round(statistics.fmean(values), 1) + 0.0  # without the sign of a rounded zero
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


def cells_of(
    column: Sequence[Sequence[float]], mark: bool = True, lower: bool = False
) -> list[Cell]:
    """Return the cells of a column from each row's values.

    Args:
        column: The values of each row, a value for each seed.
        mark: Whether to mark the best mean as printed, so that ties are ties. A mean that stands
            alone in its column is not marked.
        lower: Whether lower values are better.
    """
    means = [
        round(statistics.fmean(values), 1) if values and not any(map(math.isnan, values)) else None
        for values in column
    ]
    defined = [mean for mean in means if mean is not None]
    best = (min if lower else max)(defined) if mark and len(defined) > 1 else None
    return [
        Cell(mean_and_deviation(values), mean is not None and mean == best)
        for values, mean in zip(column, means, strict=True)
    ]


def seeds_text(seeds: Iterable[int]) -> str:
    """Return ``seed 0`` or ``seeds 0 2``."""
    numbers = sorted(set(seeds))
    return f"seed{'s' if len(numbers) > 1 else ''} {' '.join(map(str, numbers))}"


def same_seeds(seeds: Iterable[Sequence[int]]) -> bool:
    """Return whether all rows that have runs have the same ``seeds``.

    Means over other seeds are of other runs, so none of them is the best.
    """
    return len({tuple(numbers) for numbers in seeds if numbers}) < 2
