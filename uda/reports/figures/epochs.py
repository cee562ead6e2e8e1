"""Learning curves: the main score by epoch of adaptation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from uda.reports.chapter import Chapter
from uda.reports.figures.base import Drawing, FigureKind
from uda.reports.figures.drawing import (
    draw_mean,
    make_axes,
    page_colours,
    row_colours,
    set_whole_ticks,
)
from uda.reports.results import Pair, Result, has_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

LINE_HEIGHT = 0.2  # inches of a line in the legend
LETTER_WIDTH = 0.085


class EpochsFigure(FigureKind[Chapter]):
    """The main score by epoch: mean over seeds, and their range. A row that trains nothing is a
    dashed line across."""

    name = "epochs"
    title = "Learning curves"

    def describe(self, chapter: Chapter) -> str:
        """Return the text below the heading."""
        return (
            f"{chapter.score_title} by epoch of adaptation; epoch 0 is the source model, a dashed"
            " line one that is not adapted. Bands: the range over seeds."
        )

    def legend(self, chapter: Chapter) -> Mapping[str, str]:
        """Return the rows' colours."""
        return page_colours(chapter.board)

    def on_page(self, chapter: Chapter) -> Iterator[Drawing]:
        """Yield a figure for each pair on which a row was trained."""
        for pair in chapter.pairs:
            lines = [result.lines for row in chapter.rows for result in row.at(pair)]
            if not any(len(epochs) > 1 and has_labels(epochs) for epochs in lines):
                continue
            figure, (axes,) = make_axes(1, 1, 3.6, 2.5)
            _draw(axes, chapter, pair)
            axes.set_xlabel("epoch")
            axes.set_ylabel(f"{chapter.score_title}, %")
            label = f"{chapter.setting.title}, {pair.name}: {chapter.score_title} by epoch"
            yield Drawing(pair.arrow, label, figure)

    def in_report(self, chapter: Chapter, pair: Pair | None) -> Drawing | None:
        """Return a figure of all pairs; of a single pair it stands below that pair's table."""
        if not chapter.has_epochs or (pair is not None and len(chapter.pairs) > 1):
            return None
        return Drawing(self.title, f"{chapter.score_title} by epoch", _draw_all(chapter))


def _draw_all(chapter: Chapter) -> Figure:
    """Draw a panel for each pair, three or four beside one another, with a legend below."""
    pairs = chapter.pairs
    columns = 3 if len(pairs) % 3 == 0 else min(len(pairs), 4)
    size = (8.5, 4.0) if len(pairs) == 1 else (3.0, 2.4)
    figure, panels = make_axes(math.ceil(len(pairs) / columns), columns, *size)
    for axes, pair in zip(panels, pairs, strict=False):
        _draw(axes, chapter, pair)
        axes.set_title(pair.arrow, fontsize=10)
    for axes in panels[len(pairs) :]:
        axes.set_visible(False)
    for axes in panels[::columns]:
        axes.set_ylabel(f"{chapter.score_title}, %")
    figure.suptitle(chapter.setting.title, fontsize=11)
    handles = {
        title: handle
        for axes in panels
        for handle, title in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    titles = [title for title in chapter.board if title in handles]
    in_two = 2 * LETTER_WIDTH * max(map(len, titles)) < figure.get_figwidth()
    figure.legend(
        [handles[title] for title in titles],
        titles,
        frameon=False,
        loc="outside lower center",
        ncols=2 if in_two else 1,
        fontsize=9,
        # The panels' x label: one of the figure would lie under the legend.
        title="epoch of adaptation (0: the source model)",
        title_fontsize=10,
    )
    lines = math.ceil(len(titles) / 2) if in_two else len(titles)
    figure.set_figheight(figure.get_figheight() + LINE_HEIGHT * max(0, lines - 4))
    return figure


def _draw(axes: Axes, chapter: Chapter, pair: Pair) -> None:
    """Draw the curves of all rows on ``pair``."""
    colours = row_colours(chapter.board)
    for title, row in chapter.board.items():
        if results := row.at(pair):
            epochs, values = _curves(results, chapter.setting.main_score)
            if len(epochs) == 1:
                level = values.mean()
                axes.axhline(
                    level, color=colours[title], linestyle="--", linewidth=1.5, label=title
                )
            else:
                draw_mean(axes, epochs, values, colours[title], title)
    set_whole_ticks(axes)


def _curves(results: list[Result], score: str) -> tuple[list[int], NDArray[np.float64]]:
    """Return the epochs that all ``results`` have, and their scores [results, epochs]."""
    curves = [{line["epoch"]: line.get(score) for line in result.lines} for result in results]
    epochs = sorted(set.intersection(*(set(curve) for curve in curves)))
    values = [[math.nan if curve[e] is None else curve[e] for e in epochs] for curve in curves]
    return epochs, np.array(values)
