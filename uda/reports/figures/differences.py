"""What augmentation and adaptation change: differences between rows, pair by pair."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from uda.reports.chapter import Chapter
from uda.reports.differences import Difference, signed
from uda.reports.figures.base import Drawing, FigureKind
from uda.reports.figures.drawing import BLUE, GRID, INK, make_axes
from uda.reports.results import Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
TITLE_WIDTH = 40  # characters


class DifferencesFigure(FigureKind[Chapter]):
    """The difference at each pair and seed, of rows that share several pairs."""

    name = "differences"
    title = "Differences by pair"
    note = (
        "Large dots: the mean over seeds; small ones: each seed. Dashed: the mean over pairs."
        " Right of zero the first is better."
    )
    panels = "small"

    def on_page(self, chapter: Chapter) -> Iterator[Drawing]:
        """Yield a figure for each difference; all have the same scale."""
        compared = _of_several_pairs(chapter)
        limits = _limits(compared, 0.06)
        for difference in compared:
            figure, (axes,) = make_axes(1, 1, 4.2, 0.9 + 0.25 * len(difference.pair_means))
            _draw(axes, difference)
            axes.set_xlim(*limits)
            axes.set_xlabel(f"difference in {chapter.score_title}, points")
            mean = f"by pair; mean {signed(difference.mean)}"
            label = f"{chapter.setting.title}: {difference.title}, {mean}"
            yield Drawing(difference.title, label, figure)

    def in_report(self, chapter: Chapter, pair: Pair | None) -> Drawing | None:
        """Return a figure of all differences, three side by side."""
        compared = _of_several_pairs(chapter)
        if pair is not None or not compared:
            return None
        columns = min(len(compared), COLUMNS)
        levels = [len(difference.pair_means) for difference in compared]
        rows = [levels[start : start + columns] for start in range(0, len(levels), columns)]
        heights = [1.2 + 0.28 * max(row) for row in rows]
        figure, panels = make_axes(len(rows), columns, 3.6, heights, share=False)
        for axes in panels[len(compared) :]:
            axes.set_visible(False)
        for axes, difference in zip(panels, compared, strict=False):
            _draw(axes, difference)
            axes.set_xlim(*_limits(compared, 0.08))
            title = textwrap.fill(difference.title, TITLE_WIDTH, break_on_hyphens=False)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel(f"difference in {chapter.score_title}, points")
        figure.suptitle(chapter.setting.title, fontsize=11)
        return Drawing(self.title, f"Difference in {chapter.score_title} by pair", figure)


def _of_several_pairs(chapter: Chapter) -> list[Difference]:
    return [d for d in chapter.differences if len(d.pair_means) > 1]


def _limits(compared: Sequence[Difference], margin: float) -> tuple[float, float]:
    """Return a range of x that holds zero and all differences, with a ``margin`` of its width."""
    values = [0.0, *(value for difference in compared for value in difference.values)]
    low, high = min(values), max(values)
    return low - margin * (high - low), high + margin * (high - low)


def _draw(axes: Axes, difference: Difference) -> None:
    """Draw a line for each pair: the difference at each seed (small) and their mean (large)."""
    means = difference.pair_means
    pairs = means.index.tolist()
    for level, pair in enumerate(reversed(pairs)):
        values, mean = difference.values[pair].tolist(), means[pair]
        axes.plot([0, mean], [level, level], color=BLUE, linewidth=1.2, alpha=0.4)
        if len(values) > 1:
            levels = [level] * len(values)
            axes.plot(values, levels, "o", color=BLUE, markersize=4, alpha=0.45, mew=0)
        axes.plot(mean, level, "o", color=BLUE, markersize=8, mew=0)
    axes.axvline(0, color=INK, linewidth=1)
    if len(pairs) > 1:
        axes.axvline(difference.mean, color=BLUE, linestyle="--", linewidth=1.2)
    axes.set_yticks(range(len(pairs)), pairs[::-1])
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.spines["left"].set_visible(False)
